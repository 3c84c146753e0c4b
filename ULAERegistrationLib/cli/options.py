"""Shared parts of the commands of `ulae`: their declaration, the settings of a registration, and the progress bar."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeAlias

from ..errors import RegistrationError
from ..progress import Progress, silent
from ..settings import (
    ALIGNMENTS,
    BRAIN_CHOICES,
    DEVICES,
    EXTRACTORS,
    PRECISIONS,
    PRESETS,
    RegistrationSettings,
)

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class UsageError(RegistrationError):
    """The options of a command contradict each other; the exit status is 2, as for an unknown option."""


def add_command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], None], text: str
) -> argparse.ArgumentParser:
    """Add a command of that name, which calls `run` with its options, and return its parser."""
    command = commands.add_parser(name, help=text, description=text)
    command.set_defaults(run=run)
    return command


def add_network(command: argparse.ArgumentParser) -> None:
    """Add the options of the network: --device, --precision, --model."""
    command.add_argument("--device", choices=DEVICES, default="auto", help="default: auto")
    command.add_argument("--precision", choices=PRECISIONS, default="auto", help="of the convolutions; default: auto")
    command.add_argument("--model", metavar="FILE", help="weights (.safetensors) instead of the shipped ones")


def add_settings(command: argparse.ArgumentParser) -> None:
    """Add the options that `settings_of` reads, and --quiet."""
    command.add_argument("--preset", choices=PRESETS, default="accurate", help="default: accurate")
    command.add_argument(
        "--brain",
        choices=BRAIN_CHOICES,
        default="auto",
        help="for scans that show more than the brain and have no mask: find the brain (auto, the default), refuse "
        "them (given), or take them as they are (skip)",
    )
    command.add_argument("--extractor", choices=EXTRACTORS, default="ulae", help="what finds the brain; default: ulae")
    command.add_argument("--alignment", choices=ALIGNMENTS, default="affine", help="default: affine")
    command.add_argument("--no-affine", action="store_const", dest="alignment", const="none", help="--alignment none")
    add_network(command)
    command.add_argument("--iterations", type=int, metavar="N", help="most refinement steps (default: the preset's)")
    command.add_argument("--smoothness", type=float, default=1.0, metavar="X", help="of the refinement; default: 1")
    command.add_argument("--quiet", action="store_true", help="say nothing unless it fails")


def settings_of(options: argparse.Namespace) -> RegistrationSettings:
    """Convert the options to the settings of a registration.

    Raises:
        RegistrationError: for a value that is out of range.
    """
    return RegistrationSettings(
        preset=options.preset,
        brain=options.brain,
        extractor=options.extractor,
        alignment=options.alignment,
        device=options.device,
        precision=options.precision,
        model=options.model,
        refinement_iterations=options.iterations,
        smoothness=options.smoothness,
    )


@contextmanager
def progress_bar(is_silent: bool) -> Iterator[Progress]:
    """Show a progress bar on stderr, unless it is to be silent.

    Yields:
        The progress callback, which updates the bar.
    """
    if is_silent:
        yield silent
        return
    # Imported here because it takes a tenth of a second, and the help of a command does not need it.
    from tqdm import tqdm

    bar: tqdm | None = None

    def progress(fraction: float, message: str) -> None:
        nonlocal bar
        if bar is None:  # only once the input has been accepted, so that a refusal prints one line alone
            bar = tqdm(total=100, bar_format="{percentage:3.0f}% |{bar:30}| {elapsed} {desc}", file=sys.stderr)
        bar.set_description_str(message, refresh=False)
        bar.n = round(100 * fraction)
        bar.refresh()

    try:
        yield progress
    finally:
        if bar is not None:
            bar.close()
