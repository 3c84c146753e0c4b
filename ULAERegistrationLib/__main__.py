"""Entry point of `ulae` and of `python -m ULAERegistrationLib`."""

import io
import signal
import sys

from .cli.interrupts import SIGNALS, Interrupt
from .cli.main import main
from .memory import keep_freed_memory
from .threads import let_waiting_threads_sleep


def run() -> int:
    """Run the command line in this process and return the exit status."""
    interrupt = Interrupt()
    for number in SIGNALS:
        signal.signal(number, interrupt)
    if isinstance(sys.stdout, io.TextIOWrapper):  # else a name that the console lacks letters for would end the command
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error has it
    keep_freed_memory()
    let_waiting_threads_sleep()
    return main()


if __name__ == "__main__":
    sys.exit(run())
