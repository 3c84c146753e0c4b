"""Write files and folders completely or not at all, and check beforehand that files can be read or written.

Only the standard library is used, because machines that train may lack SimpleITK.
"""

from __future__ import annotations

import errno
import json
import os
import platform
import re
import secrets
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from ..errors import RegistrationError

RECORD = "made_from.json"  # what a result was made from, see `process.made_from`
# Files that say that their folder is complete, and name its files: an earlier result's are removed first, the new ones
# are moved last.
LAST = ("quality.json", RECORD)
MOVING = ".moving.json"  # names the files of the earlier and the new result while they are moved
PARTIAL = ".partial-"  # begins the names of what is being written
THIS_RUN = secrets.token_hex(3)  # tells this process from an earlier one of the same number
NUMBERS = count()  # tell what this process is writing at the same time apart
LONGEST_END = 20  # characters of a file's name in its temporary one, which may not exceed 255 bytes
IMAGE_EXTENSIONS = (".nii.gz", ".nii", ".nrrd", ".mha")


def check_input_file(path: str | os.PathLike[str], name: str, or_folder: bool = False) -> None:
    """Check that a file exists and can be opened.

    Args:
        path: the file.
        name: its name in the message, such as "The fixed image".
        or_folder: whether it may be a folder.

    Raises:
        RegistrationError: where it does not exist, is a folder, cannot be opened, or has a name that ITK cannot take.
    """
    path = Path(path)
    _check_name(path, f"{name} {path}")
    try:
        if path.is_dir():
            if or_folder:
                os.listdir(path)
                return
            raise RegistrationError(f"{name} {path} is a folder; give the path of a file.")
        if path.is_fifo():  # which is read once, and opened for reading would wait for a writer
            raise RegistrationError(f"{name} {path} is a pipe; write its content to a file and give that.")
        with path.open("rb"):
            return
    except FileNotFoundError:
        raise RegistrationError(f"{name} {path} does not exist; give the path of a file.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RegistrationError(f"{name} {path} cannot be opened ({reason}); check its name and permissions.") from None


def check_output_folder(folder: str | os.PathLike[str]) -> Path:
    """Check that results can be written to a folder, without leaving anything in it.

    Args:
        folder: an existing folder, or one that can be created.

    Returns:
        The folder as a path; it may not exist yet.

    Raises:
        RegistrationError: where it is a file or cannot be written to.
    """
    folder = Path(folder)
    _check_name(folder, f"The output {folder}")
    existing = folder
    try:
        existing = next((path for path in (folder, *folder.absolute().parents) if os.path.lexists(path)), folder)
        with tempfile.TemporaryFile(dir=existing):
            return folder
    except (OSError, ValueError) as error:
        is_file = isinstance(error, NotADirectoryError)
        reason = "it is not a folder" if is_file else (getattr(error, "strerror", None) or str(error)).lower()
        raise RegistrationError(f"Nothing can be written to {folder} ({reason}); choose another folder.") from None


def check_output_file(path: str | os.PathLike[str], extensions: tuple[str, ...] = IMAGE_EXTENSIONS) -> Path:
    """Check that a file can be written: its folder is writable and its extension is one of those given.

    Returns:
        The file as a path.

    Raises:
        RegistrationError: where it cannot.
    """
    path = Path(path)
    if not path.name.lower().endswith(extensions):
        raise RegistrationError(f"{path.name} cannot be written; end its name with {' or '.join(extensions)}.")
    _check_name(path, f"The output {path}")
    try:
        if path.is_dir():
            raise RegistrationError(f"{path} is a folder; give the name of a file.")
    except (OSError, ValueError) as error:
        raise _unwritten(path, error) from None
    check_output_folder(path.parent)
    return path


def partial_name() -> str:
    """Return the beginning of the names of what this process is writing."""
    return f"{PARTIAL}{_machine()}-{os.getpid()}-{THIS_RUN}"


def _name_of_its_own() -> str:
    """Return the beginning of the names of one file or folder that this process is writing."""
    return f"{partial_name()}-{next(NUMBERS)}"


def _machine() -> str:
    """Return letters that tell where a process number means the same process: the machine, and on Linux the container.

    Containers may have one name and one disk, and each has a process of the same number.
    """
    container = ""
    with suppress(OSError):  # there is none elsewhere
        container = os.readlink("/proc/self/ns/pid")
    return re.sub(r"[^A-Za-z0-9]", "", platform.node())[:40] + re.sub(r"\D", "", container)


def remove_stale(folder: Path) -> None:
    """Remove what processes of this machine have left in a folder that were killed while they wrote to it."""
    if os.name == "nt":  # where a process cannot be asked whether it lives
        return
    beginning = f"{PARTIAL}{_machine()}-"
    for path in folder.glob(f"{beginning}*"):
        number = path.name.removeprefix(beginning).partition("-")[0]
        if not number.isdigit() or path.name.startswith(partial_name()):
            continue
        if int(number) == os.getpid() or not _lives(int(number)):  # of an earlier process of our number, or of none
            with suppress(OSError):  # of another user, or removed by another process at this moment
                shutil.rmtree(path) if path.is_dir() else path.unlink()


def _lives(number: int) -> bool:
    """Tell whether there is a process of this number."""
    try:
        os.kill(number, 0)
    except (ProcessLookupError, OverflowError):
        return False
    except OSError:  # it is another user's
        pass
    return True


def check_room(folder: Path, needed: int) -> None:
    """Check that a file of this length can be written to a folder.

    It is for writers that do not bear to be stopped half way: after a full disk, the HDF5 library ends the process.

    Args:
        folder: it exists.
        needed: bytes.

    Raises:
        OSError: where it cannot.
    """
    if shutil.disk_usage(folder).free < needed:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    with suppress(ImportError):  # there is none on Windows
        import resource

        longest = resource.getrlimit(resource.RLIMIT_FSIZE)[0]
        if longest not in (resource.RLIM_INFINITY, -1) and longest < needed:
            raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))


@contextmanager
def whole_or_nothing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """Write a file completely or not at all.

    Yields:
        A temporary path to write to. The file is renamed to `path` when the block ends without an exception, and is
        removed otherwise.

    Raises:
        RegistrationError: where the file cannot be written (disk full, folder gone, no permission).
    """
    path = Path(path)
    # The temporary name ends as the file's does, because writers choose the format by the extension, in small letters.
    partial = path.with_name(f"{_name_of_its_own()}-{path.name[-LONGEST_END:].lower()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        remove_stale(path.parent)
        yield partial
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:
        raise _unwritten(path, error) from error
    finally:
        with suppress(OSError):
            partial.unlink()


@contextmanager
def whole_folder_or_nothing(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """Write several files to a folder, where they appear only after all of them have been written.

    The temporary folder lies within the target, so that moving a file is a rename on one disk even where the target is
    a mount point, a link to another disk, or the only writable place. If the block fails, nothing it wrote remains, and
    a target that did not exist before is removed.

    Args:
        folder: of the result; it may exist, and files of the same names in it are replaced. What an earlier result has
            put there and the new one lacks is removed; it is known by the records that lie in the folder.

    Yields:
        A temporary folder to write to. Its files are moved to `folder` when the block ends without an exception.

    Raises:
        RegistrationError: where it cannot be written (disk full, folder gone, no permission).
    """
    folder = Path(folder)
    is_new = not folder.exists()
    partial = folder / _name_of_its_own()
    written, replaced = partial / f"{PARTIAL}written", partial / f"{PARTIAL}replaced"  # no message names them
    new: list[str] = []
    try:
        written.mkdir(parents=True)
        remove_stale(folder)
        yield written
        new = files_in(written)
        with _moving_alone(folder):
            _exchange(folder, new, written, replaced)
        is_new = False
    except OSError as error:
        raise _unwritten(folder, error) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        # Of a new folder, what this process has made is removed where it is empty; another one may write there too.
        for made in [*sorted({(folder / name).parent for name in new}, reverse=True), folder] if is_new else []:
            with suppress(OSError):
                made.rmdir()


def _exchange(folder: Path, new: Sequence[str], written: Path, replaced: Path) -> None:
    """Move the files of an earlier result out of a folder, and those of the new one into it.

    A note names them all meanwhile, by which the next process removes what one leaves that is killed.

    Args:
        folder: of the result.
        new: names of the new files.
        written: where they lie.
        replaced: where the earlier ones go.
    """
    earlier = {*recorded_files(folder), *(name for name in (*new, *LAST) if (folder / name).is_file())}
    out = [(folder / name, replaced / name) for name in sorted(earlier, key=lambda name: name not in LAST)]
    into = [(written / name, folder / name) for name in sorted(new, key=lambda name: name in LAST)]
    note = folder / MOVING
    try:
        note.write_text(json.dumps({"files": [*earlier, *new]}), encoding="utf-8")
        _move_all([*out, *into])
    finally:
        note.unlink(missing_ok=True)


def _move_all(moves: Sequence[tuple[Path, Path]]) -> None:
    """Move files one after the other; where one cannot be moved, all are moved back."""
    done: list[tuple[Path, Path]] = []
    try:
        for source, target in moves:
            target.parent.mkdir(parents=True, exist_ok=True)
            source.replace(target)
            done.append((source, target))
    except BaseException:
        for source, target in reversed(done):
            with suppress(OSError):
                target.replace(source)
        raise


def files_in(folder: Path) -> list[str]:
    """Return the names of all files in a folder, relative to it."""
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


def recorded_files(folder: Path) -> set[str]:
    """Return the names of the files that an earlier result has put into a folder, as its records say.

    So does the note that a process has left which was killed while it moved files there.
    A record may have been edited: what lies outside the folder is left out.
    """
    names: set[str] = set()
    for record in (*LAST, MOVING):
        with suppress(OSError, ValueError, KeyError, TypeError):  # there is none, or of an older version, or damaged
            names.update(map(str, json.loads((folder / record).read_text(encoding="utf-8"))["files"]))
    inside = folder.resolve()
    return {name for name in names if (folder / name).resolve().is_relative_to(inside) and (folder / name).is_file()}


@contextmanager
def _moving_alone(folder: Path) -> Iterator[None]:
    """Let one process at a time move its files to a folder, where the system has locks, so that no two are mixed."""
    try:
        import fcntl
    except ImportError:  # Windows
        yield
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        with suppress(OSError):  # a file system without locks
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _unwritten(path: Path, error: Exception) -> RegistrationError:
    """Say that a file or folder could not be written, without the temporary folders that it was to lie in."""
    shown = Path(*(part for part in path.parts if not part.startswith(PARTIAL)))
    reason = getattr(error, "strerror", None) or itk_reason(error)
    return RegistrationError(f"{shown} could not be written ({reason}); choose another place.")


def _check_name(path: Path, name: str) -> None:
    """Refuse a name that is not UTF-8, which ITK cannot be given: it would end the process."""
    try:
        str(path).encode("utf-8")
    except UnicodeEncodeError:
        raise RegistrationError(f"{name} has letters in its name that are not UTF-8; rename it.") from None


def itk_reason(error: Exception) -> str:
    """Return the last line of an exception's text, which in ITK's is the reason."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
