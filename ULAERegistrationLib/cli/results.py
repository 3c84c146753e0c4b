"""Write the results of a command, so that one that fails or an interruption loses no other."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from types import TracebackType

from ..errors import Cancelled, RegistrationError
from ..files.rescue import write_somewhere


class Results:
    """The results that a command writes within a `with` block.

    At the end of the block it is said which results are in another place than their own, or in none (a
    RegistrationError); at Ctrl-C within it, which were written before (a Cancelled).
    """

    def __init__(self) -> None:
        self._written: list[str] = []
        self._sentences: list[str] = []

    def __enter__(self) -> Results:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        if kind is KeyboardInterrupt and self._written:
            raise Cancelled(f"cancelled; written before: {', '.join(self._written)}") from None
        if isinstance(error, RegistrationError):
            self._sentences.append(str(error))
        if self._sentences and (error is None or isinstance(error, RegistrationError)):
            raise RegistrationError(" ".join(self._sentences)) from error

    def write(self, write: Callable[[Path], object], target: str | os.PathLike[str]) -> Path | None:
        """Write a result; where its place fails, in another place.

        Args:
            write: writes the result to the path that it is given, completely or not at all.
            target: where it belongs.

        Returns:
            Where it is; None where no place takes it.
        """
        return self._note(lambda: write_somewhere(write, Path(target)))

    def write_side_by_side(
        self, writers: Sequence[tuple[Callable[[Path], object], str | os.PathLike[str] | None]]
    ) -> None:
        """Write results at the same time, as `write` does, because most of each is written on one core.

        An interruption waits until all of them are written.

        Args:
            writers: of each result what `write` takes; one without a target is left out.
        """
        tasks: list[Future[tuple[Path, str]]] = []
        try:
            with ThreadPoolExecutor() as pool:
                for write, target in writers:
                    if target:
                        tasks.append(pool.submit(write_somewhere, write, Path(target)))
                wait(tasks)
        finally:
            for task in tasks:
                if task.done():
                    self._note(task.result)

    def _note(self, outcome: Callable[[], tuple[Path, str]]) -> Path | None:
        """Note what came of writing a result, and return where it is."""
        try:
            place, sentence = outcome()
        except RegistrationError as error:
            self._sentences.append(str(error))
            return None
        self._written.append(str(place))
        if sentence:
            self._sentences.append(sentence)
        return place
