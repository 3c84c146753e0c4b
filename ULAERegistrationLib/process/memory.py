"""A setting of the C library's memory allocation, for processes that only register or train."""

from __future__ import annotations

import ctypes
import sys

MOST_MAPPED, TRIM_THRESHOLD = -4, -1  # glibc's M_MMAP_MAX and M_TRIM_THRESHOLD, parameters of mallopt


def keep_freed_memory() -> None:
    """Let glibc reuse the memory of freed tensors for new ones; on other systems nothing changes.

    By default glibc returns it to the kernel, and every page that is allocated again costs a page fault: in all a sixth
    of a registration's time, and half of the plain network's. This is for processes that only register or train; in an
    application such as Slicer, other programs need the memory.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(MOST_MAPPED, 0)
        libc.mallopt(TRIM_THRESHOLD, -1)
