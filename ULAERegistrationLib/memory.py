"""How the C library allocates memory in processes that only register or train."""

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


def return_freed_memory() -> None:
    """Return what glibc has kept of freed memory to the kernel; on other systems nothing changes.

    What one stage frees is in pieces that the next one's larger arrays may not fit into; so a process that keeps it
    grows from stage to stage.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
