"""What a process that registers shares with its parent: the lines that it writes, and its end.

`job.Job` is the parent. It reads the lines, and its end is noticed here by the end of standard input.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
from pathlib import Path
from typing import Any

RESULTS = 0.97  # fraction of the progress at which a result is whole


class Reporter:
    """Writes the JSON lines to standard output; from then on all other output goes to the log (standard error).

    Attributes:
        folder: removed if the parent process has ended; None keeps all files.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def progress(self, fraction: float, message: str) -> None:
        """Write a line with the fraction done, 0 to 1, and what is being done."""
        self._line({"fraction": round(float(fraction), 4), "message": message})

    def results(self, place: Path) -> None:
        """Write a line that says that the results are whole, and where they are."""
        self._line({"fraction": RESULTS, "message": "Registered", "results": str(place.absolute())})

    def done(self) -> None:
        """Write a line that says that all is done."""
        self._line({"fraction": 1.0, "message": "Done"})

    def error(self, sentence: str) -> None:
        """Write a line with the reason of a failure."""
        self._line({"error": sentence})

    def outcome(self, content: dict[str, str]) -> None:
        """Write a line with what the process has to tell at its end."""
        self._line({"outcome": content})

    def _line(self, content: dict[str, Any]) -> None:
        try:
            print(json.dumps(content), file=self._out, flush=True)
        except OSError:
            leave(self.folder)


def end_with_parent(folder: Path | None) -> None:
    """End this process, and remove its folder, as soon as the parent process has ended.

    The parent holds the other end of standard input, which closes however the parent ends.
    """
    if sys.stdin is None or sys.stdin.isatty():
        return
    # Duplicate stdin and point descriptor 0 at the null device: on Windows some libraries probe stdin while loading,
    # and would block.
    other_end = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def wait() -> None:
        while os.read(other_end, 1024):
            pass
        leave(folder)

    threading.Thread(target=wait, daemon=True).start()


def leave(folder: Path | None) -> None:
    """End this process at once, because the parent process has ended, and remove its folder."""
    if folder is not None:
        os.chdir(folder.parent)  # Windows cannot remove a process's current folder
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)
