"""Write the results of a command one after the other, so that one that fails or an interruption loses no other."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from ..errors import Cancelled, RegistrationError
from ..files.rescue import write_somewhere


class Results:
    """The results that a command has written so far."""

    def __init__(self) -> None:
        self._written: list[str] = []
        self._sentences: list[str] = []

    def write(self, write: Callable[[Path], object], target: str | os.PathLike[str]) -> Path | None:
        """Write a result; where its place fails, in another place.

        Args:
            write: writes the result to the path that it is given, completely or not at all.
            target: where it belongs.

        Returns:
            Where it is; None where no place takes it.

        Raises:
            Cancelled: at Ctrl-C, where other results are written already; it says which.
        """
        try:
            place, sentence = write_somewhere(write, Path(target))
        except RegistrationError as error:
            self._sentences.append(str(error))
            return None
        except KeyboardInterrupt:
            if not self._written:
                raise
            raise Cancelled(f"cancelled; written before: {', '.join(self._written)}") from None
        self._written.append(str(place))
        if sentence:
            self._sentences.append(sentence)
        return place

    def report(self) -> None:
        """Say which results are in another place than their own, or in none.

        Raises:
            RegistrationError: where there are such.
        """
        if self._sentences:
            raise RegistrationError(" ".join(self._sentences))
