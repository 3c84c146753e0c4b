"""What the commands of `ulae` share: how one is declared, the settings of a registration, the bar of its progress."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from ..errors import RegistrationError
from ..progress import Progress, silent
from ..settings import ALIGNMENTS, DEVICES, PRECISIONS, PRESETS, RegistrationSettings

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class UsageError(RegistrationError):
    """The options of a command do not go together; the exit status is 2, as for an option that is not known."""


def add_command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], None], text: str
) -> argparse.ArgumentParser:
    """A command of that name, which calls `run` with its options."""
    command = commands.add_parser(name, help=text, description=text)
    command.set_defaults(run=run)
    return command


def add_network(command: argparse.ArgumentParser) -> None:
    """The options that say which weights run where: --device, --precision, --model."""
    command.add_argument("--device", choices=DEVICES, default="auto", help="default: auto")
    command.add_argument("--precision", choices=PRECISIONS, default="auto", help="of the convolutions; default: auto")
    command.add_argument("--model", metavar="FILE", help="weights (.safetensors) instead of the shipped ones")


def add_settings(command: argparse.ArgumentParser) -> None:
    """The options that `settings_of` reads."""
    command.add_argument("--preset", choices=PRESETS, default="accurate", help="default: accurate")
    command.add_argument("--alignment", choices=ALIGNMENTS, default="affine", help="default: affine")
    command.add_argument("--no-affine", action="store_const", dest="alignment", const="none", help="--alignment none")
    add_network(command)
    command.add_argument("--iterations", type=int, metavar="N", help="most refinement steps (default: the preset's)")
    command.add_argument("--smoothness", type=float, default=1.0, metavar="X", help="of the refinement; default: 1")
    command.add_argument("--quiet", action="store_true", help="say nothing unless it fails")


def settings_of(options: argparse.Namespace) -> RegistrationSettings:
    """How to register, as the options say.

    Raises:
        RegistrationError: for a value that is out of range.
    """
    return RegistrationSettings(
        preset=options.preset,
        alignment=options.alignment,
        device=options.device,
        precision=options.precision,
        model=options.model,
        refinement_iterations=options.iterations,
        smoothness=options.smoothness,
    )


@contextmanager
def progress_bar(is_silent: bool) -> Iterator[Progress]:
    """A bar on stderr that says what is going on; yields the callback that moves it."""
    if is_silent:
        yield silent
        return
    # Imported here: it takes a tenth of a second, and the help of a command needs none.
    from tqdm import tqdm

    bar: tqdm | None = None

    def progress(fraction: float, message: str) -> None:
        nonlocal bar
        if bar is None:  # not before the input has been found good: a refusal is one line
            bar = tqdm(total=100, bar_format="{percentage:3.0f}% |{bar:30}| {elapsed} {desc}", file=sys.stderr)
        bar.set_description_str(message, refresh=False)
        bar.n = round(100 * fraction)
        bar.refresh()

    try:
        yield progress
    finally:
        if bar is not None:
            bar.close()
