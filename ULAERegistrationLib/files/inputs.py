"""The name of an input without its ending, and the checksum of all files that it is made of."""

from __future__ import annotations

import hashlib
import re
from contextlib import suppress
from pathlib import Path

from .dicom import is_dicom
from .text_headers import LONGEST

# Formats whose voxels lie in another file of the same name, and those whose header names the files.
PAIRED, NAMING = (".hdr", ".img", ".hdr.gz", ".img.gz"), (".nhdr", ".mhd")


def stem(path: Path) -> str:
    """Return the name of a scan: its file's without an extension such as `.nii.gz`, or its folder's."""
    if path.is_dir():
        return path.name
    name = path.name[:-3] if path.name.lower().endswith(".gz") else path.name
    return name.rpartition(".")[0] or path.name


def digest(path: Path) -> str:
    """Compute the SHA-256 of a file, or one checksum of all files of a folder, a DICOM series or a detached header.

    Returns:
        In hexadecimal: of a single file the SHA-256 of its content, of several the SHA-256 of theirs, one after the
        other; empty where a file cannot be read.
    """
    found = []
    try:
        for file in _files_of(path):
            with file.open("rb") as content:
                found.append(hashlib.file_digest(content, "sha256"))
    except OSError:
        return ""
    if len(found) == 1:
        return found[0].hexdigest()
    return hashlib.sha256(b"".join(one.digest() for one in found)).hexdigest()


def _files_of(path: Path) -> list[Path]:
    """List the files that a scan or another input is made of."""
    if path.is_dir():
        return sorted(file for file in path.rglob("*") if file.is_file())
    with path.open("rb") as file:
        beginning = file.read(LONGEST)
    is_series, names_others = is_dicom(beginning), path.name.lower().endswith(NAMING)
    if not (is_series or names_others or path.name.lower().endswith(PAIRED)):
        return [path]
    beside = sorted(file for file in path.parent.iterdir() if file.is_file())
    if is_series:  # the whole series, one of whose files was named
        return beside
    name = path.name.split(".")[0]
    named = _named(path.parent, beginning.decode("latin-1")) if names_others else set()
    return sorted({*(file for file in beside if file.name.split(".")[0] == name), *named})


def _named(folder: Path, header: str) -> set[Path]:
    """List the files that a header names, by themselves or by a pattern such as `slices/%03d.raw 1 90 1`.

    Args:
        folder: of the header, from which the names begin.
        header: its text; voxels may follow.
    """
    found: set[Path] = set()
    for line in header.splitlines():
        file = folder / re.split("[=:]", line, maxsplit=1)[-1].strip()
        with suppress(OSError):  # of a line that is no name
            if file.is_file():
                found.add(file)
            elif "%" in file.name and file.parent.is_dir():
                found.update(other for other in file.parent.iterdir() if other.is_file())
    return found
