"""Write what was computed, elsewhere where its own place fails: no finished computation is lost to a full disk."""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

from ..errors import RegistrationError

ELSEWHERE = "ulae-result-"  # begins the names of the folders that are made in other places


def write_somewhere(write: Callable[[Path], object], target: Path) -> tuple[Path, str]:
    """Write a finished result; where that fails, write it to a folder of its own in another place.

    Args:
        write: writes the result to the path that it is given, completely or not at all.
        target: where it belongs.

    Returns:
        Where it is, and, where that is another place, sentences that say why and where.

    Raises:
        RegistrationError: where no other place takes it either.
    """
    try:
        write(target)
    except RegistrationError as error:
        reason = without_advice(error)
    else:
        return target, ""
    for folder in other_places():
        try:
            write(folder / target.name)
        except RegistrationError:
            shutil.rmtree(folder, ignore_errors=True)
            continue
        return folder / target.name, f"{reason}. What was computed is in {folder / target.name} instead."
    raise RegistrationError(f"{reason}, nor could another place; free some space and start again.")


def without_advice(error: RegistrationError) -> str:
    """Return the sentence of a failed writing without its advice to choose another place, and without its full stop."""
    return re.sub(r"(; choose another (place|folder))?\.$", "", str(error))


def other_places() -> Iterator[Path]:
    """Make a new folder in each place where results may be kept: for temporary files, and of the user."""
    places = []
    with suppress(OSError):
        places.append(Path(tempfile.gettempdir()))
    with suppress(RuntimeError):  # where there is no home
        places.append(Path.home())
    for place in dict.fromkeys(places):
        with suppress(OSError):
            yield Path(tempfile.mkdtemp(prefix=ELSEWHERE, dir=place))
