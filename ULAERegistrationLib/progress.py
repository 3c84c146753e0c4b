"""Progress of a registration: its stages, the callback that receives them, and the time that each stage takes."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from .memory import return_freed_memory

Progress = Callable[[float, str], None]


def silent(fraction: float, message: str) -> None:
    """Ignore the progress: the default callback."""


@dataclass(frozen=True)
class Stage:
    """A stage of a registration.

    Attributes:
        name: its key in `Quality.seconds`.
        start: fraction of the whole registration that is done when it begins, 0 to 1.
        message: the text shown to the user while it begins.
    """

    name: str
    start: float
    message: str


BRAIN = Stage("brain extraction", 0.0, "Finding the brains")
ALIGNMENT = Stage("alignment", 0.05, "Aligning the brains")
NETWORK = Stage("network", 0.2, "Starting the network")
REFINEMENT = Stage("refinement", 0.45, "Refining this pair")
QUALITY = Stage("quality", 0.85, "Measuring the result")
FIELD = Stage("field", 0.93, "Warping the moving image")
STAGES = (BRAIN, ALIGNMENT, NETWORK, REFINEMENT, QUALITY, FIELD)
# What is told while a process of its own writes the results.
WRITING_TRANSFORM = "Writing the transform"
WRITING_WARPED = "Writing the warped volume"
WRITING_STEPS = "Writing the steps"
WRITING_REPORT = "Writing the report"


def step_message(number: int, count: int) -> str:
    """Return what a person waiting is told while the network computes one of its steps."""
    return f"Network, step {number} of {count}"


class StageClock:
    """Reports the progress of a registration and measures the time of each stage.

    Between two stages it gives freed memory back to the system, because what one stage has freed does not fit what the
    next one needs.

    Args:
        progress: called with the fraction done, 0 to 1, which never falls, and what is being done.

    Attributes:
        seconds: duration of each finished stage, by name.
    """

    def __init__(self, progress: Progress = silent) -> None:
        self.seconds: dict[str, float] = {}
        self._progress = progress
        self._fraction = 0.0
        self._stage: Stage | None = None
        self._began = time.monotonic()

    def begin(self, stage: Stage) -> None:
        """End the current stage, if there is one, and begin this one."""
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
        """Call the progress callback; a fraction below the last one reported is raised to it."""
        self._fraction = max(self._fraction, fraction)
        self._progress(self._fraction, message)

    def within(self, fraction: float, message: str) -> None:
        """Report a fraction, 0 to 1, of the current stage as a fraction of the whole; a `Progress` callback."""
        stage = self._stage or STAGES[0]
        later = [other.start for other in STAGES if other.start > stage.start]
        self.report(stage.start + (min([*later, 1.0]) - stage.start) * fraction, message)

    def _note(self) -> None:
        return_freed_memory()
        if self._stage is not None:
            self.seconds[self._stage.name] = round(time.monotonic() - self._began, 2)
