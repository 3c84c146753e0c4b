"""Entry point of `ulae` and of `python -m ULAERegistrationLib`."""

import sys

from .cli.main import main
from .process.memory import keep_freed_memory


def run() -> int:
    """Run the command line in this process and return the exit status."""
    keep_freed_memory()
    return main()


if __name__ == "__main__":
    sys.exit(run())
