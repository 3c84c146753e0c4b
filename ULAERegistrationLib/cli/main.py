"""The command line `ulae`; `NOTES` has what holds for all of its commands."""

from __future__ import annotations

import argparse
import errno
import os
import sys
from collections.abc import Sequence

from .. import __version__
from ..errors import NOT_ENOUGH_MEMORY, Cancelled, RegistrationError, lacks_memory
from .apply import add_apply
from .batch import add_batch
from .benchmark import add_benchmark
from .brain import add_brain
from .convert import add_convert
from .demo import add_demo
from .evaluate import add_evaluate
from .info import add_info
from .options import UsageError
from .register import add_register
from .train import add_train

NOTES = """\
`ulae COMMAND --help` lists the options of a command, with examples.

Results go to files and standard output; progress and errors to standard error, without colours.
An error is one line that says what is wrong and what to do, and leaves no half-written file.

exit status:
  0  done
  1  failed, or cancelled by Ctrl-C or SIGTERM; of a batch, at least one pair failed
  2  wrong usage

For research; not a medical device.
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command and return the exit status.

    Args:
        arguments: of the command line; None takes those of this process.
    """
    parser = _parser()
    if not (sys.argv[1:] if arguments is None else arguments):
        parser.print_help(sys.stderr)
        return 2
    options = parser.parse_args(arguments)
    try:
        _check_given(options)
        options.run(options)
        if sys.stdout is not None:  # as where a program without a terminal has closed it
            sys.stdout.flush()
    except RegistrationError as error:
        print(f"ulae: {error}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    except (MemoryError, RuntimeError) as error:
        if not lacks_memory(error):
            raise
        print(f"ulae: {NOT_ENOUGH_MEMORY}", file=sys.stderr)
        return 1
    except (KeyboardInterrupt, Cancelled) as error:
        print(f"ulae: {str(error) or options.ending(options)}", file=sys.stderr)
        return 1
    except BrokenPipeError:  # the program that read our output has ended
        return _without_output()
    except OSError as error:  # of standard output; files are written with sentences of their own
        if error.errno != errno.ENOSPC:
            raise
        print("ulae: No space is left for the output; free some and start again.", file=sys.stderr)
        return _without_output()
    return 0


def _check_given(options: argparse.Namespace) -> None:
    """Refuse an empty value, which a variable of the shell that is not set leaves, and not the current folder."""
    for name, value in vars(options).items():
        if "" in (value if isinstance(value, list) else [value]):
            raise UsageError(f"The value of {name.replace('_', '-')} is empty; give one, or leave the option out.")


def _without_output() -> int:
    """Keep Python from failing once more when it writes what is left of the output; return the exit status."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="ulae",
        description="Register brain MR scans with ULAE-net.",
        epilog=NOTES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=f"ulae {__version__}")
    commands = parser.add_subparsers(required=True, title="commands", metavar="COMMAND", dest="command")
    add_register(commands)
    add_apply(commands)
    add_convert(commands)
    add_batch(commands)
    add_brain(commands)
    add_info(commands)
    add_demo(commands)
    add_benchmark(commands)
    add_train(commands)
    add_evaluate(commands)
    return parser
