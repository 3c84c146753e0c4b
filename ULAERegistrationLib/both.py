"""Do the same to the fixed and to the moving image at the same time."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

Result = TypeVar("Result")


def for_both(function: Callable[..., Result], fixed: tuple, moving: tuple) -> tuple[Result, Result]:
    """Call a function for both images, for the moving one in a second thread.

    Much of what is done to an image runs on one core, outside of Python's lock: ITK's filters, numpy's large arrays.

    Args:
        function: called twice.
        fixed, moving: its arguments for either image.

    Returns:
        Its results for the fixed and for the moving image. Where both fail, the exception is the fixed image's.
    """
    with ThreadPoolExecutor(max_workers=1) as other_thread:
        second = other_thread.submit(function, *moving)
        return function(*fixed), second.result()
