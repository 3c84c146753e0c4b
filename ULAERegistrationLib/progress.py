"""Where a registration is: its stages, the callback that is told of them, and the time that each of them takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

Progress = Callable[[float, str], None]


def silent(fraction: float, message: str) -> None:
    """The progress callback of those who do not want to know."""


@dataclass(frozen=True)
class Stage:
    """A stretch of a registration.

    Attributes:
        name: as `Quality.seconds` lists it.
        start: share of the whole registration that is done when it begins, 0 to 1.
        message: what a person waiting is told.
    """

    name: str
    start: float
    message: str


ALIGNMENT = Stage("alignment", 0.0, "Aligning the brains")
NETWORK = Stage("network", 0.2, "Starting the network")
REFINEMENT = Stage("refinement", 0.45, "Refining this pair")
FIELD = Stage("field", 0.85, "Composing the transform")
QUALITY = Stage("quality", 0.95, "Measuring the result")
STAGES = (ALIGNMENT, NETWORK, REFINEMENT, FIELD, QUALITY)


class StageClock:
    """Tells the caller where the registration is, and keeps the time of each stage.

    Args:
        progress: called with the fraction done, 0 to 1, which never falls, and what is being done.
    """

    def __init__(self, progress: Progress = silent) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress
        self._fraction = 0.0
        self._stage: Stage | None = None
        self._began = time.monotonic()

    def begin(self, stage: Stage) -> None:
        """End the stage before, and begin this one."""
        self._note()
        self._stage = stage
        self.report(stage.start, stage.message)
        self._began = time.monotonic()

    def end(self) -> None:
        """End the last stage."""
        self._note()
        self._stage = None
        self.report(1.0, "Done")

    def report(self, fraction: float, message: str) -> None:
        """Tell the caller; a fraction below one that was told before is raised to it."""
        self._fraction = max(self._fraction, fraction)
        self._progress(self._fraction, message)

    def within(self, fraction: float, message: str) -> None:
        """A progress callback for the stage that has begun: its own fraction, 0 to 1, becomes one of the whole."""
        stage = self._stage or ALIGNMENT
        later = [other.start for other in STAGES if other.start > stage.start]
        self.report(stage.start + (min([*later, 1.0]) - stage.start) * fraction, message)

    def _note(self) -> None:
        if self._stage is not None:
            self.seconds[self._stage.name] = round(time.monotonic() - self._began, 2)
