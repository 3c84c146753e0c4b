"""How a process of our own treats the memory it frees."""

from __future__ import annotations

import ctypes
import sys

MOST_MAPPED, TRIM_THRESHOLD = -4, -1  # glibc's names for what mallopt sets


def keep_freed_memory() -> None:
    """Let glibc keep large tensors that were freed for those that come next; elsewhere nothing changes.

    By default it hands them back to the kernel, and every page that comes back costs a fault: a sixth of a
    registration's time, half of the plain network's. For processes that only register or train: in an application such
    as Slicer the memory belongs to others too.
    """
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        libc.mallopt(MOST_MAPPED, 0)
        libc.mallopt(TRIM_THRESHOLD, -1)
