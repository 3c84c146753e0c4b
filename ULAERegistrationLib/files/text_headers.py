"""Headers of NRRD and MetaImage files: how many voxels they promise, and which other files hold them.

ITK fetches memory for as many as a header asks for, and ends the process at some headers of MetaImage.
"""

from __future__ import annotations

import glob
import math
import re
from dataclasses import dataclass
from pathlib import Path

LONGEST = 1 << 20  # bytes, of a header
NRRD_BYTES = {
    **dict.fromkeys(("signed char", "int8", "int8_t", "uchar", "unsigned char", "uint8", "uint8_t"), 1),
    **dict.fromkeys(("short", "short int", "signed short", "signed short int", "int16", "int16_t"), 2),
    **dict.fromkeys(("ushort", "unsigned short", "unsigned short int", "uint16", "uint16_t"), 2),
    **dict.fromkeys(("int", "signed int", "int32", "int32_t", "uint", "unsigned int", "uint32", "uint32_t"), 4),
    **dict.fromkeys(("longlong", "long long", "long long int", "signed long long", "signed long long int"), 8),
    **dict.fromkeys(("int64", "int64_t", "ulonglong", "unsigned long long", "unsigned long long int"), 8),
    **dict.fromkeys(("uint64", "uint64_t", "double"), 8),
    "float": 4,
}
META_BEGINNING = re.compile(rb"\s*(ObjectType|NDims|Comment|ObjectSubType)\s*=")
# What follows in a header is the name of the file with the voxels, a pattern of such names, or LIST and the names.
VOXEL_FILE = re.compile(r"^(?:data ?file *:|ElementDataFile *=(?! *LOCAL))", re.MULTILINE | re.IGNORECASE)
META_BYTES = {"CHAR": 1, "SHORT": 2, "INT": 4, "LONG": 4, "LONG_LONG": 8, "FLOAT": 4, "DOUBLE": 8}


@dataclass(frozen=True)
class TextHeader:
    """What a header promises.

    Attributes:
        size: number of voxels along each axis.
        needed: bytes for all voxels as they are stored.
        available: bytes that there are for them; None where that is not known from the header: where they are text or
            in several files, or their compressed length is not stored.
    """

    size: tuple[int, ...]
    needed: int
    available: int | None


def read_text_header(path: Path, beginning: bytes) -> TextHeader | None:
    """Read the header of an NRRD or MetaImage file; None where the file is of another format.

    Args:
        path: the file.
        beginning: its first bytes, up to `LONGEST`.

    Raises:
        ValueError: where the header is one of these and damaged.
    """
    if beginning.startswith(b"NRRD"):
        return _nrrd(path, beginning)
    if META_BEGINNING.match(beginning):
        return _meta(path, beginning)
    return None


def voxel_files(path: Path, beginning: bytes) -> set[Path]:
    """List the other files that hold the voxels of an NRRD or MetaImage file; none where it is of another format.

    Args:
        path: the file, from whose folder the names begin.
        beginning: its first bytes, up to `LONGEST`.
    """
    if not (beginning.startswith(b"NRRD") or META_BEGINNING.match(beginning)):
        return set()
    header = beginning.replace(b"\r\n", b"\n").partition(b"\n\n")[0].decode("utf-8", "replace")
    names = [name.strip() for part in VOXEL_FILE.split(header, maxsplit=1)[1:] for name in part.split("\n")]
    found: set[Path] = set()
    for file in (path.parent / name for name in names if name):
        if file.is_file():
            found.add(file)
        elif "%" in file.name:  # a pattern, such as `slices/%03d.raw 1 90 1`
            pattern = re.sub(r"%\d*d", "*", glob.escape(re.sub(r"(\s+-?\d+)+$", "", file.name)))
            found.update(other for other in file.parent.glob(pattern) if other.is_file())
    return found


def _nrrd(path: Path, beginning: bytes) -> TextHeader:
    header, blank, _ = beginning.replace(b"\r\n", b"\n").partition(b"\n\n")
    fields: dict[str, str] = {}
    for line in header.decode("latin-1").split("\n")[1:]:
        key, separator, value = line.partition(":")
        if separator and not value.startswith("="):
            fields.setdefault(key.strip().lower(), value.strip())
    size = _numbers(fields.get("sizes", ""))
    if _numbers(fields.get("dimension", "")) != (len(size),):
        raise ValueError("its dimension and its sizes differ")
    kind = " ".join(fields.get("type", "").lower().split())
    if kind not in NRRD_BYTES:
        raise ValueError(f"its type {kind!r} is not known")
    voxel_file = fields.get("data file", fields.get("datafile"))
    available = None
    if fields.get("encoding", "").lower() == "raw" and "byte skip" not in fields:
        available = _length(path, voxel_file) if voxel_file else path.stat().st_size - len(header) - len(blank)
    return TextHeader(_checked(size), math.prod(size) * NRRD_BYTES[kind], available)


def _meta(path: Path, beginning: bytes) -> TextHeader:
    fields: dict[str, str] = {}
    position = 0
    while "ElementDataFile" not in fields:
        end = beginning.find(b"\n", position)
        if end < 0:
            raise ValueError("its header has no end")
        key, _, value = beginning[position:end].decode("latin-1").partition("=")
        fields[key.strip()] = value.strip()
        position = end + 1
    size = _numbers(fields.get("DimSize", ""))
    if _numbers(fields.get("NDims", "")) != (len(size),):
        raise ValueError("its dimension and its sizes differ")
    kind = fields.get("ElementType", "").removeprefix("MET_").removesuffix("_ARRAY").removeprefix("U")
    if kind not in META_BYTES:
        raise ValueError(f"its type {kind!r} is not known")
    channels = int(fields.get("ElementNumberOfChannels", "1"))
    needed: int | None = math.prod(_checked(size)) * META_BYTES[kind] * channels
    if _is_true(fields.get("CompressedData", "False")):
        needed = int(fields["CompressedDataSize"]) if "CompressedDataSize" in fields else None
    if needed is None or "HeaderSize" in fields or not _is_true(fields.get("BinaryData", "True")):
        return TextHeader(size, 0, None)
    voxel_file = fields["ElementDataFile"]
    is_here = voxel_file.upper() == "LOCAL"
    return TextHeader(size, needed, path.stat().st_size - position if is_here else _length(path, voxel_file))


def _length(header: Path, name: str) -> int | None:
    """Return the length of the file with the voxels; None where the name stands for several files."""
    file = header.parent / name
    return file.stat().st_size if file.is_file() else None


def _is_true(text: str) -> bool:
    return text[:1].lower() in ("t", "1")


def _numbers(text: str) -> tuple[int, ...]:
    return tuple(int(word) for word in text.split())


def _checked(size: tuple[int, ...]) -> tuple[int, ...]:
    if not 1 <= len(size) <= 5 or min(size) < 1:
        raise ValueError("its number of voxels is not positive")
    return size
