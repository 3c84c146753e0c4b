"""What the commands of `ulae` share: how one is declared, and the bar that says how far it is."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager


def add_command(commands: argparse._SubParsersAction, name: str, run: Callable, text: str) -> argparse.ArgumentParser:
    """A command of that name, which calls `run` with its options."""
    command = commands.add_parser(name, help=text, description=text)
    command.set_defaults(run=run)
    return command


@contextmanager
def progress_bar(silent: bool) -> Iterator[Callable[[float, str], None] | None]:
    """A bar on stderr that says what is going on; yields the callback, or None."""
    if silent:
        yield None
        return
    from tqdm import tqdm

    bar = None

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
