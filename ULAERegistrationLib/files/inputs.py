"""The name of an input without its ending, and the checksum of all files that it is made of."""

from __future__ import annotations

import hashlib
from pathlib import Path

from .dicom import dicom_files, is_dicom
from .itk import itk_files
from .nifti import pair_of
from .text_headers import LONGEST, voxel_files


def stem(path: Path) -> str:
    """Return the name of a scan: its file's without an extension such as `.nii.gz`, or its folder's."""
    if path.is_dir():
        return path.name
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    return name.rpartition(".")[0] or path.name


def digest(path: Path) -> str:
    """Compute the SHA-256 of a file, or one checksum of all files of a DICOM series or a detached header.

    Only what the reader reads counts, as results and other files may lie beside a scan.

    Returns:
        In hexadecimal: of a single file the SHA-256 of its content, of several the SHA-256 of theirs, one after the
        other; empty where a file cannot be read, and of a folder without a series.
    """
    found = []
    try:
        for file in _files_of(path):
            with file.open("rb") as content:
                found.append(hashlib.file_digest(content, "sha256"))
    except (OSError, RuntimeError):
        return ""
    if not found:
        return ""
    if len(found) == 1:
        return found[0].hexdigest()
    return hashlib.sha256(b"".join(one.digest() for one in found)).hexdigest()


def _files_of(path: Path) -> list[Path]:
    """List the files that a scan or another input is made of."""
    is_series, beginning = path.is_dir(), b""
    if not is_series:
        with path.open("rb") as file:
            beginning = file.read(LONGEST)
    if is_series or is_dicom(beginning):
        with itk_files():
            return sorted(map(Path, dicom_files(path)))
    return sorted({*pair_of(path), *voxel_files(path, beginning)})
