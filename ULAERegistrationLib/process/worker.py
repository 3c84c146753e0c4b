"""The process that computes a registration for Slicer: job file in, JSON lines and result files out.

`python -m ULAERegistrationLib.process.worker job.json`, started by `job.Job`; the file holds a `job.JobDescription`.
Lines on standard output: {"fraction": 0.4, "message": "Step 2 of 3"}, and {"error": sentence} where it fails (exit
status 1). The results lie in `result/` beside the job file; `results` says which.
"""

from __future__ import annotations

import json
import os
import shutil
import sys
import threading
import traceback
from pathlib import Path
from typing import Any

from ..errors import NOT_ENOUGH_MEMORY, RegistrationError
from .job import JobDescription
from .memory import keep_freed_memory

_REPAIR = (
    "PyTorch cannot be loaded ({}); in Slicer, uninstall it in the module PyTorch Utils, restart Slicer and install it"
    " again."
)
REGISTERING = 0.9  # the share of the bar that register() has; the rest is writing


class Reporter:
    """Writes the JSON lines; everything else that prints goes to the log (standard error).

    Attributes:
        folder: removed when nobody listens any more; None leaves everything where it is.
    """

    def __init__(self) -> None:
        self.folder: Path | None = None
        self._out = os.fdopen(os.dup(1), "w", encoding="utf-8")
        os.dup2(2, 1)

    def progress(self, fraction: float, message: str) -> None:
        self._line({"fraction": round(float(fraction), 4), "message": message})

    def error(self, sentence: str) -> None:
        self._line({"error": sentence})

    def _line(self, content: dict[str, Any]) -> None:
        try:
            print(json.dumps(content), file=self._out, flush=True)
        except OSError:
            _leave(self.folder)


def main(arguments: list[str] | None = None) -> int:
    """Runs the job; returns the exit status."""
    keep_freed_memory()
    job_file = Path((arguments or sys.argv[1:])[0]).resolve()
    report = Reporter()
    try:
        job = JobDescription.from_json(job_file.read_text(encoding="utf-8"))
        report.folder = None if job.keep_files else job_file.parent
        _end_with_parent(report.folder)
        # Files by their bare names from here on: under Windows, ITK in python.exe cannot open a path with letters
        # beyond ASCII, and the folder's path may hold the name of the account.
        os.chdir(job_file.parent)
        run(job, Path(), report)
    except RegistrationError as error:
        report.error(str(error))
    except MemoryError:
        report.error(NOT_ENOUGH_MEMORY)
    except ModuleNotFoundError as error:
        report.error(f"The Python package {error.name} is missing; install it and register again.")
    except Exception as error:
        traceback.print_exc()
        report.error(
            f"The registration failed unexpectedly ({type(error).__name__}: {error}); the log has the details."
        )
    else:
        return 0
    return 1


def run(job: JobDescription, folder: Path, report: Reporter) -> None:
    """Registers, and writes what the job asks for.

    Args:
        job: what to do.
        folder: where its files lie; `result/` is made in it.
        report: where progress goes.

    Raises:
        RegistrationError: as `register` does.
    """
    report.progress(0.0, "Loading the network")
    _load_torch()
    # Imported here: these load torch, which takes seconds that the person waiting is told of.
    from .. import register
    from .results import write_results

    def path(name: str | None) -> str | None:
        return str(folder / name) if name else None

    registration = register(
        folder / job.fixed,
        folder / job.moving,
        settings=job.settings,
        fixed_mask=path(job.fixed_mask),
        moving_mask=path(job.moving_mask),
        initial_transform=path(job.initial_transform),
        progress=lambda fraction, message: report.progress(REGISTERING * fraction, message),
    )
    write_results(
        registration,
        job,
        folder / "result",
        lambda fraction, message: report.progress(REGISTERING + (1 - REGISTERING) * fraction, message),
    )
    report.progress(1.0, "Done")


def _load_torch() -> None:
    """Imports torch, which takes seconds.

    Raises:
        RegistrationError: it is installed, but cannot be loaded: by halves, or in a version for another computer.
    """
    try:
        import torch  # noqa: F401
    except ModuleNotFoundError as error:
        if error.name == "torch":
            raise
        raise RegistrationError(_REPAIR.format(error)) from error
    except (ImportError, OSError) as error:
        raise RegistrationError(_REPAIR.format(error)) from error


def _end_with_parent(folder: Path | None) -> None:
    """Ends this process, and removes its folder, when the program that started it is gone.

    That program holds the other end of standard input, which closes when it ends, in whatever way.
    """
    if sys.stdin is None or sys.stdin.isatty():
        return
    # Under another number: on Windows, libraries that look at standard input while they load would wait for the reader.
    other_end = os.dup(0)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)

    def wait() -> None:
        while os.read(other_end, 1024):
            pass
        _leave(folder)

    threading.Thread(target=wait, daemon=True).start()


def _leave(folder: Path | None) -> None:
    """Ends this process at once: the program that started it is gone."""
    if folder is not None:
        os.chdir(folder.parent)  # Windows removes no folder in which a process is
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
