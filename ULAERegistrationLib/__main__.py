"""Entry point of `ulae` and of `python -m ULAERegistrationLib`."""

import signal
import sys
import time
from types import FrameType

from .cli.main import main
from .memory import keep_freed_memory

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
            raise KeyboardInterrupt


def run() -> int:
    """Run the command line in this process and return the exit status."""
    interrupt = Interrupt()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, interrupt)
    keep_freed_memory()
    return main()


if __name__ == "__main__":
    sys.exit(run())
