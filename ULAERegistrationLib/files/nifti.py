"""Check NIfTI files for faults that ITK's reader hides: it reads missing voxels, and NaN, as zeros."""

from __future__ import annotations

import gzip
import math
import struct
import zlib
from pathlib import Path

import numpy as np

from ..errors import RegistrationError

NOT_FINITE = "has voxels that are NaN or infinite; replace them by its background value."
HEADER_BYTES = 348
FLOATS = {16: "f4", 64: "f8"}  # NIfTI-1 data type codes


def check_nifti(path: Path, name: str, finite: bool) -> None:
    """Refuse a NIfTI-1 file that is cut short; files of other formats are not checked.

    Args:
        path: the file.
        name: its name in the message, such as "The fixed image".
        finite: whether to refuse NaN and infinite voxels too.

    Raises:
        RegistrationError: where the file is cut short or damaged, or its values are not finite.
    """
    cut_short = RegistrationError(f"{name} {path} is cut short or damaged; fetch the file again.")
    try:
        data = path.read_bytes()
        data = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
    except (EOFError, OSError, zlib.error):
        raise cut_short from None
    if data[344:HEADER_BYTES] != b"n+1\0":
        return
    order = "<" if struct.unpack_from("<i", data)[0] == HEADER_BYTES else ">"
    sides, *size = struct.unpack_from(order + "8h", data, 40)
    kind, bits = struct.unpack_from(order + "2h", data, 70)
    start = int(struct.unpack_from(order + "f", data, 108)[0])
    count = math.prod(size[:sides])
    if len(data) < start + count * bits // 8:
        raise cut_short
    if finite and kind in FLOATS and not np.isfinite(np.frombuffer(data, order + FLOATS[kind], count, start)).all():
        raise RegistrationError(f"{name} {NOT_FINITE}")
