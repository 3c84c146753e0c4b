"""Entry point of `ulae` and of `python -m ULAERegistrationLib`."""

import atexit
import io
import os
import signal
import sys

from .cli.interrupts import SIGNALS, Interrupt


class QuickEnd:
    """Ends the process once everything else has ended, without taking apart what Python has loaded.

    Of torch, these are a quarter of a million objects, for which Python takes a sixth of a second.
    """

    def __init__(self) -> None:
        self.status: int | None = None  # of the process, once it is known; until then Python ends it as always
        atexit.register(self)  # before anything else is imported, as what is registered first is called last

    def __call__(self) -> None:
        """End the process, unless its output cannot be written, of which Python tells."""
        if self.status is None:
            return
        try:
            sys.stdout.flush()
            sys.stderr.flush()
        except (OSError, ValueError, AttributeError):
            return
        os._exit(self.status)


def run() -> int:
    """Run the command line in this process and return the exit status."""
    interrupt = Interrupt()
    for number in SIGNALS:
        signal.signal(number, interrupt)
    if isinstance(sys.stdout, io.TextIOWrapper):  # else a name that the console lacks letters for would end the command
        sys.stdout.reconfigure(errors="backslashreplace")  # as standard error has it
    try:
        # Imported when an interrupt is a line and not a traceback.
        from .cli.main import main
        from .memory import keep_freed_memory
        from .threads import spare_the_cores

        keep_freed_memory()
        spare_the_cores()
        return main()
    except KeyboardInterrupt:  # before a command has begun
        print("ulae: cancelled", file=sys.stderr)
        return 1


def program() -> None:
    """Run the command line as a program: end the process with its exit status."""
    end = QuickEnd()
    end.status = run()
    sys.exit(end.status)


if __name__ == "__main__":
    program()
