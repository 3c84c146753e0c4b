"""Files are written whole or not at all, and where they will be written is tested before anything is computed."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import SimpleITK as sitk

from ..errors import RegistrationError

IMAGE_EXTENSIONS = (".nii.gz", ".nii", ".nrrd", ".mha")


def check_output_folder(folder: str | os.PathLike) -> Path:
    """Make sure that results can be written to a folder, without leaving anything in it.

    Args:
        folder: an existing folder, or one that can be made.

    Returns:
        The folder as a path; it may not exist yet.

    Raises:
        RegistrationError: it is a file, or cannot be written to.
    """
    folder = Path(folder)
    existing = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    try:
        with tempfile.TemporaryFile(dir=existing):
            return folder
    except OSError as error:
        reason = "it is not a folder" if existing.is_file() else error.strerror.lower()
        raise RegistrationError(f"Nothing can be written to {folder} ({reason}); choose another folder.") from None


def check_output_file(path: str | os.PathLike, extensions: tuple[str, ...] = IMAGE_EXTENSIONS) -> Path:
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
def whole_or_nothing(path: str | os.PathLike) -> Iterator[Path]:
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


def write_image(image: sitk.Image, path: str | os.PathLike) -> None:
    """Write a volume, compressed, whole or not at all.

    Raises:
        RegistrationError: unknown extension, or it cannot be written.
    """
    with whole_or_nothing(check_output_file(path)) as partial:
        sitk.WriteImage(image, str(partial), useCompression=True)


def itk_reason(error: Exception) -> str:
    """What an exception of ITK's says after its source lines."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    return lines[-1].rstrip(".") if lines else type(error).__name__
