"""The beginning of HDF5 files, which MINC-2 volumes and ITK's .h5 transforms are.

The format: https://support.hdfgroup.org/documentation/hdf5/latest/_f_m_t3.html, section II.A.
"""

from __future__ import annotations

import struct

MAGIC = b"\x89HDF\r\n\x1a\n"
# Where the length of the file is stored, by the version of the superblock.
LENGTH_AT = {0: 40, 1: 44, 2: 28, 3: 28}


def is_cut_short(beginning: bytes, length: int) -> bool:
    """Tell whether an HDF5 file is shorter than it says; the HDF5 library prints pages about such a file.

    Args:
        beginning: at least its first 64 bytes, where it has as many.
        length: of the file, bytes.
    """
    if len(beginning) < 64:
        return True
    at = LENGTH_AT.get(beginning[len(MAGIC)])
    return at is not None and struct.unpack_from("<Q", beginning, at)[0] > length
