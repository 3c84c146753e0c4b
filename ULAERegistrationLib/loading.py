"""Load torch while another core prepares what needs none."""

from __future__ import annotations

import gc
from concurrent.futures import ThreadPoolExecutor

from .geometry.brain_search import searched_template
from .geometry.canonical import template_tissues


def load_torch() -> None:
    """Import torch, which keeps one core busy for one to two seconds; another one prepares the template meanwhile.

    Python's collector of garbage does not look at the quarter of a million objects that torch loads, none of which is
    garbage: neither meanwhile nor at the end of the process, where that would take a quarter of a second.

    Raises:
        ModuleNotFoundError, ImportError, OSError: where torch is not installed, or cannot be loaded.
    """
    with ThreadPoolExecutor(max_workers=1) as other_thread:
        for prepare in (searched_template, template_tissues):  # which keep it; where one fails, it fails there again
            other_thread.submit(prepare)
        collects = gc.isenabled()
        gc.disable()
        try:
            import torch  # noqa: F401
        finally:
            gc.freeze()
            if collects:
                gc.enable()
