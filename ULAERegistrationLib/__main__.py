"""`ulae`, and `python -m ULAERegistrationLib`: a process of its own for the command line."""

import signal
import sys

from .cli.main import main
from .process.memory import keep_freed_memory


def run() -> int:
    """Run the command line; returns the exit status."""
    # Ended from outside as by Ctrl-C: half-written files are cleared away.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    keep_freed_memory()
    return main()


if __name__ == "__main__":
    sys.exit(run())
