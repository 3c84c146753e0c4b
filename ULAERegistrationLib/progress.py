"""Where a registration is: the callback that is told, and the time of each stage."""

from __future__ import annotations

import time
from collections.abc import Callable

Progress = Callable[[float, str], None]


class Stages:
    """Tells the caller where the registration is, and keeps the time of each stage."""

    def __init__(self, progress: Progress | None) -> None:
        self.report: Progress = progress or (lambda fraction, message: None)
        self.seconds: dict[str, float] = {}
        self._name, self._began = "", time.monotonic()

    def begin(self, name: str, fraction: float, message: str) -> None:
        self.report(fraction, message)
        self._note()
        self._name, self._began = name, time.monotonic()

    def end(self) -> None:
        self._note()
        self._name = ""
        self.report(1.0, "Done")

    def within(self, start: float, stop: float) -> Progress:
        """A progress callback for a part of the way."""
        return lambda fraction, message: self.report(start + (stop - start) * fraction, message)

    def _note(self) -> None:
        if self._name:
            self.seconds[self._name] = round(time.monotonic() - self._began, 2)
