"""Entry point of `ulae` and of `python -m ULAERegistrationLib`."""

import io
import signal
import sys

from .cli.interrupts import SIGNALS, Interrupt


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


if __name__ == "__main__":
    sys.exit(run())
