"""How the C library allocates memory in processes that only register or train."""

from __future__ import annotations

import ctypes
import sys

# Parameters of glibc's mallopt: M_MMAP_MAX, M_TRIM_THRESHOLD and M_ARENA_MAX.
MOST_MAPPED, TRIM_THRESHOLD, MOST_ARENAS = -4, -1, -8


def keep_freed_memory() -> None:
    """Let glibc reuse the memory of freed tensors for new ones; on other systems nothing changes.

    By default glibc returns it to the kernel, and every page that is allocated again costs a page fault: in all a sixth
    of a registration's time, and half of the plain network's. This is for processes that only register or train; in an
    application such as Slicer, other programs need the memory. It has to be called before other threads are started:
    all threads then share one heap, so that each reuses what another has freed, which lowers a registration's peak by
    a tenth.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(MOST_MAPPED, 0)
        libc.mallopt(TRIM_THRESHOLD, -1)
        libc.mallopt(MOST_ARENAS, 1)


def return_freed_memory() -> None:
    """Return what glibc has kept of freed memory to the kernel; on other systems nothing changes.

    What one stage frees is in pieces that the next one's larger arrays may not fit into; so a process that keeps it
    grows from stage to stage.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "malloc_trim"):
        libc.malloc_trim(0)
