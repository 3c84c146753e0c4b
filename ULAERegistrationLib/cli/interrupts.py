"""Ctrl-C and SIGTERM: they end a command at once, or a training after its step."""

from __future__ import annotations

import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

SIGNALS = (signal.SIGINT, signal.SIGTERM)
SAME_REQUEST_SECONDS = 5.0  # a signal so soon after another asks for nothing new


class Interrupt:
    """A handler of signals that stops a command as Ctrl-C does, once for signals that come together.

    A second Ctrl-C, or `make` passing on the SIGTERM that its whole group gets, would else interrupt the removal of
    incomplete files.
    """

    def __init__(self) -> None:
        self._last = float("-inf")

    def __call__(self, number: int, frame: FrameType | None) -> None:
        """Raise KeyboardInterrupt, unless the last signal was only just now."""
        now = time.monotonic()
        if now - self._last > SAME_REQUEST_SECONDS:
            self._last = now
            self.act()

    def act(self) -> None:
        """Raise KeyboardInterrupt."""
        raise KeyboardInterrupt


class StopRequest(Interrupt):
    """A handler whose first signal is a wish to stop, which the program asks for; the next stops it at once."""

    def __init__(self) -> None:
        super().__init__()
        self._is_made = False

    def is_made(self) -> bool:
        """Tell whether there was a signal."""
        return self._is_made

    def act(self) -> None:
        """Note the wish; raise KeyboardInterrupt where it was noted before."""
        if self._is_made:
            raise KeyboardInterrupt
        self._is_made = True
        wait = f"{SAME_REQUEST_SECONDS:g} s"
        print(f"ulae: stopping after this step; once more after {wait} stops at once", file=sys.stderr, flush=True)


@contextmanager
def stop_request() -> Iterator[StopRequest]:
    """Let signals make a wish to stop while the block runs; in a thread other than the main one, none is seen."""
    request = StopRequest()
    if threading.current_thread() is not threading.main_thread():
        yield request
        return
    before = {number: signal.signal(number, request) for number in SIGNALS}
    try:
        yield request
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
