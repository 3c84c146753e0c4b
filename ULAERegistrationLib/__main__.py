"""`ulae`, and `python -m ULAERegistrationLib`: a process of its own for the command line."""

import sys

from .cli.main import main
from .process.memory import keep_freed_memory


def run() -> int:
    """Run the command line; returns the exit status."""
    keep_freed_memory()
    return main()


if __name__ == "__main__":
    sys.exit(run())
