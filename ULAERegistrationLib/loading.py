"""Load torch while another core prepares what needs none."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

from .geometry.brain_search import searched_template


def load_torch() -> None:
    """Import torch, which keeps one core busy for one to two seconds; another one prepares the template meanwhile.

    Python's collector of garbage does not look at the quarter of a million objects that torch loads, none of which is
    garbage: neither meanwhile nor at the end of the process, where that would take a quarter of a second.

    Raises:
        ModuleNotFoundError, ImportError, OSError: where torch is not installed, or cannot be loaded.
    """
    with ThreadPoolExecutor(max_workers=1) as other_thread:
        other_thread.submit(searched_template)  # which keeps it for `align`; where it fails, it fails there again
        collects = gc.isenabled()
        gc.disable()
        try:
            import torch  # noqa: F401
        finally:
            gc.freeze()
            if collects:
                gc.enable()
