"""Write files and folders whole or not at all, and test where they will be written before anything is computed.

Only the standard library is used, so that a machine that trains needs nothing else for its files.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import RegistrationError

IMAGE_EXTENSIONS = (".nii.gz", ".nii", ".nrrd", ".mha")


def check_input_file(path: str | os.PathLike[str], name: str) -> None:
    """Make sure that a file is there and can be opened.

    Args:
        path: the file.
        name: what the message calls it, such as "The fixed image".

    Raises:
        RegistrationError: it does not exist, is a folder, or may not be read.
    """
    path = Path(path)
    try:
        if path.is_dir():
            raise RegistrationError(f"{name} {path} is a folder; give the path of a file.")
        with path.open("rb"):
            return
    except FileNotFoundError:
        raise RegistrationError(f"{name} {path} does not exist; give the path of a file.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise RegistrationError(f"{name} {path} cannot be opened ({reason}); check its name and permissions.") from None


def check_output_folder(folder: str | os.PathLike[str]) -> Path:
    """Make sure that results can be written to a folder, without leaving anything in it.

    Args:
        folder: an existing folder, or one that can be made.

    Returns:
        The folder as a path; it may not exist yet.

    Raises:
        RegistrationError: it is a file, or cannot be written to.
    """
    folder = Path(folder)
    existing = folder
    try:
        existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
        with tempfile.TemporaryFile(dir=existing):
            return folder
    except OSError as error:
        is_file = isinstance(error, NotADirectoryError)
        reason = "it is not a folder" if is_file else (error.strerror or "it cannot be opened").lower()
        raise RegistrationError(f"Nothing can be written to {folder} ({reason}); choose another folder.") from None


def check_output_file(path: str | os.PathLike[str], extensions: tuple[str, ...] = IMAGE_EXTENSIONS) -> Path:
    """Make sure that a file can be written: its folder is writable and its extension is one that we write.

    Raises:
        RegistrationError: if not.
    """
    path = Path(path)
    if not path.name.lower().endswith(extensions):
        raise RegistrationError(f"{path.name} cannot be written; end its name with {' or '.join(extensions)}.")
    if path.is_dir():
        raise RegistrationError(f"{path} is a folder; give the name of a file.")
    check_output_folder(path.parent)
    return path


@contextmanager
def whole_or_nothing(path: str | os.PathLike[str]) -> Iterator[Path]:
    """A name to write to; the file appears under its own name when the block ends well, and not at all otherwise.

    Raises:
        RegistrationError: when the file cannot be written (disk full, folder gone, no permission).
    """
    path = Path(path)
    path.parent.mkdir(parents=True, exist_ok=True)
    # The full name stays at the end, because the writers choose the format by it.
    partial = path.with_name(f".partial-{os.getpid()}-{path.name}")
    try:
        yield partial
        os.replace(partial, path)
    except (OSError, RuntimeError) as error:
        raise RegistrationError(f"{path} could not be written ({itk_reason(error)}); choose another place.") from error
    finally:
        partial.unlink(missing_ok=True)


@contextmanager
def whole_folder_or_nothing(folder: str | os.PathLike[str]) -> Iterator[Path]:
    """A folder to write several files to; they appear under their own names when the block ends well.

    They are written to a folder within the target, so that moving them is one operation on one disk even where the
    target is a mount point, a link to another disk, or the only writable place. Where the block fails, nothing of it
    stays, and a target that was made for it is removed.

    Args:
        folder: of the result; may exist, and files of the same names in it are replaced.

    Raises:
        RegistrationError: when it cannot be written (disk full, folder gone, no permission).
    """
    folder = Path(folder)
    is_new = not folder.exists()
    partial = folder / f".partial-{os.getpid()}"
    try:
        partial.mkdir(parents=True)
        yield partial
        for path in sorted(partial.rglob("*")):
            target = folder / path.relative_to(partial)
            if path.is_dir():
                target.mkdir(exist_ok=True)
            else:
                path.replace(target)
        is_new = False
    except OSError as error:
        raise RegistrationError(
            f"{folder} could not be written ({itk_reason(error)}); choose another place."
        ) from error
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        if is_new:
            shutil.rmtree(folder, ignore_errors=True)


def itk_reason(error: Exception) -> str:
    """What an exception of ITK's says after its source lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
