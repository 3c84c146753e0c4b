"""Load torch while another core prepares what needs none."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

from .geometry.brain_search import searched_template


def load_torch() -> None:
    """Import torch, which keeps one core busy for one to two seconds; another one prepares the template meanwhile.

    Raises:
        ModuleNotFoundError, ImportError, OSError: where torch is not installed, or cannot be loaded.
    """
    with ThreadPoolExecutor(max_workers=1) as other_thread:
        other_thread.submit(searched_template)  # which keeps it for `align`; where it fails, it fails there again
        import torch  # noqa: F401
