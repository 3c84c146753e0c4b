"""Entry point of `ulae` and of `python -m ULAERegistrationLib`."""

import signal
import sys

from .cli.main import main
from .memory import keep_freed_memory


def run() -> int:
    """Run the command line in this process and return the exit status."""
    # SIGTERM then acts as Ctrl-C does, so that incomplete files are removed.
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    keep_freed_memory()
    return main()


if __name__ == "__main__":
    sys.exit(run())
