"""Change numbers in the header of a file."""

from __future__ import annotations

import struct
from pathlib import Path


def header_with(path: Path, start: int, layout: str, *numbers: float) -> None:
    """Write numbers over the bytes of a file, from a place on, as `struct` lays them out."""
    data = bytearray(path.read_bytes())
    struct.pack_into(layout, data, start, *numbers)
    path.write_bytes(data)
