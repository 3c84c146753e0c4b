"""Shared parts of the commands of `ulae`: their declaration, the settings of a registration, and the progress."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TypeAlias

from ..errors import RegistrationError
from ..progress import Progress, silent
from ..settings import (
    ALIGNMENTS,
    BRAIN_CHOICES,
    CONTRASTS,
    DEVICES,
    PRECISIONS,
    PRESETS,
    RegistrationSettings,
)

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"


class UsageError(RegistrationError):
    """The options of a command contradict each other; the exit status is 2, as for an unknown option."""


def add_command(
    commands: Commands, name: str, run: Callable[[argparse.Namespace], None], text: str, *examples: str
) -> argparse.ArgumentParser:
    """Add a command and return its parser.

    Args:
        commands: where it is added.
        name: what it is called.
        run: called with its options.
        text: what it does, a sentence.
        examples: shell commands, shown at the end of its help.
    """
    command = commands.add_parser(
        name,
        help=text,
        description=text,
        epilog="\n  ".join(["examples:", *examples]),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.set_defaults(run=run, ending=_nothing_written)
    return command


def _nothing_written(_: argparse.Namespace) -> str:
    """Say what there is of a command that was cancelled; a command that keeps something has an ending of its own."""
    return "cancelled, nothing was written"


def add_network(command: argparse.ArgumentParser) -> None:
    """Add the options of the network: --device, --precision, --model."""
    command.add_argument("--device", choices=DEVICES, default="auto", help="default: auto")
    command.add_argument("--precision", choices=PRECISIONS, default="auto", help="of the convolutions; default: auto")
    command.add_argument("--model", metavar="FILE", help="weights (.safetensors) instead of the shipped ones")


def add_settings(command: argparse.ArgumentParser) -> None:
    """Add the options that `settings_of` reads, and --quiet."""
    presets = " ".join(f"{name}: {preset.summary}" for name, preset in PRESETS.items())
    command.add_argument("--preset", choices=PRESETS, default="accurate", help=f"{presets} Default: accurate")
    command.add_argument(
        "--brain",
        choices=BRAIN_CHOICES,
        default="auto",
        help="for scans that show more than the brain and have no mask: find the brain (auto, the default), refuse "
        "them (given), or take them as they are (skip)",
    )
    command.add_argument(
        "--contrast",
        choices=CONTRASTS,
        default="auto",
        help="scans of different contrasts (T1 and FLAIR) are given the intensities of T1 first; default: auto",
    )
    command.add_argument(
        "--alignment",
        choices=ALIGNMENTS,
        default="auto",
        help="default: auto, which is rigid for scans that look like one person's and affine for all others",
    )
    command.add_argument("--no-affine", action="store_const", dest="alignment", const="none", help="--alignment none")
    add_network(command)
    command.add_argument(
        "--iterations", type=int, metavar="N", help="most refinement steps, of all levels together; default: 160"
    )
    command.add_argument("--smoothness", type=float, default=1.0, metavar="X", help="of the refinement; default: 1")
    command.add_argument("--quiet", action="store_true", help="say nothing unless it fails")


def add_json(command: argparse.ArgumentParser) -> None:
    """Add --json."""
    command.add_argument("--json", action="store_true", help="print the outcome as JSON, and nothing else")


def settings_of(options: argparse.Namespace) -> RegistrationSettings:
    """Convert the options to the settings of a registration.

    Raises:
        UsageError: for a value that is out of range, and for settings of a refinement that the preset has not.
    """
    if not PRESETS[options.preset].refines and (options.iterations is not None or options.smoothness != 1.0):
        raise UsageError(
            f"The preset {options.preset} does not refine; leave out --iterations and --smoothness, or choose another."
        )
    try:
        return RegistrationSettings(
            preset=options.preset,
            brain=options.brain,
            alignment=options.alignment,
            contrast=options.contrast,
            device=options.device,
            precision=options.precision,
            model=options.model,
            refinement_iterations=options.iterations,
            smoothness=options.smoothness,
        )
    except RegistrationError as error:
        raise UsageError(str(error)) from None


def check_apart(
    outputs: Iterable[str | os.PathLike[str] | None], inputs: Iterable[str | os.PathLike[str] | None]
) -> None:
    """Refuse outputs that would overwrite an input or another output; None stands for one that was not asked for.

    Raises:
        UsageError: where there is such.
    """
    # An input that is a link is lost where the link is replaced, and also where the file is that it leads to.
    read = {place for path in inputs if path for place in (_place(path), _place(_followed(path)))}
    written: set[str] = set()
    for output in outputs:
        if output is None:
            continue
        place = _place(output)
        if place in read:
            raise UsageError(f"{output} is read and would be overwritten; write to another place.")
        if place in written:
            raise UsageError(f"Two results would be written to {output}; give each a name of its own.")
        written.add(place)


def _place(path: str | os.PathLike[str]) -> str:
    """Return where a file lies; of a link the place of the link, as that is what is replaced."""
    folder, name = os.path.split(path)
    return os.path.normcase(os.path.join(_followed(folder), name))


def _followed(path: str | os.PathLike[str]) -> str:
    """Return a path without links; one that no file can have, which is refused later, as it is."""
    try:
        return os.path.realpath(path)
    except ValueError:
        return os.fspath(path)


def pair_name(fixed: str | os.PathLike[str], moving: str | os.PathLike[str]) -> str:
    """Name a pair by its files, for the progress."""
    return f"{Path(moving).name} to {Path(fixed).name}"


@contextmanager
def progress_bar(is_silent: bool, subject: str) -> Iterator[Progress]:
    """Show the progress on stderr: a bar on a terminal, and one line elsewhere, such as in the log of a job.

    Args:
        is_silent: whether to show nothing.
        subject: what is worked on, such as "moving.nii.gz to fixed.nii.gz".

    Yields:
        The progress callback. Nothing is shown before its first call, so that a refused input prints one line alone.
    """
    if is_silent:
        yield silent
        return
    if not sys.stderr.isatty():
        yield _once(f"ulae: {subject}")
        return
    # Imported here because it takes a tenth of a second, and the help of a command does not need it.
    from tqdm import tqdm

    bar: tqdm | None = None

    def progress(fraction: float, message: str) -> None:
        nonlocal bar
        if bar is None:
            form = "{percentage:3.0f}% |{bar:20}| {elapsed} {desc}"
            bar = tqdm(total=100, bar_format=form, file=sys.stderr, dynamic_ncols=True)
        bar.set_description_str(f"{subject}: {message}", refresh=False)
        bar.n = round(100 * fraction)
        bar.refresh()

    try:
        yield progress
    finally:
        if bar is not None:
            bar.close()


def _once(line: str) -> Progress:
    """Return a progress callback that prints a line when it is called first."""
    lines = [line]

    def progress(fraction: float, message: str) -> None:
        if lines:
            print(lines.pop(), file=sys.stderr, flush=True)

    return progress
