"""The process that computes a registration for Slicer: it reads a job file and writes JSON lines and result files.

`job.Job` starts it as `python -m ULAERegistrationLib.process.worker job.json`; the file holds a `job.JobDescription`.
It writes lines to standard output, {"fraction": 0.4, "message": "Network, step 2 of 3"}, and {"error": sentence} if it
fails (exit status 1). The results go to `result/` beside the job file, or, where that cannot be written, to another
place; a line says so, {"results": folder}, as soon as they are whole. What the job asks for beside them follows in
their folder `extras`. `process.results` lists all of them.
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

from ..errors import NOT_ENOUGH_MEMORY, RegistrationError, lacks_memory, unexpected
from ..memory import keep_freed_memory
from ..threads import let_waiting_threads_sleep
from .job import EXTRAS, RESULT, JobDescription

_REPAIR = (
    "PyTorch cannot be loaded ({}); in Slicer, uninstall it in the module PyTorch Utils, restart Slicer and install it"
    " again."
)
# Fractions of the progress: of `register()`, and of the result's files after it; the rest belongs to the extras.
REGISTERING, RESULTS = 0.94, 0.97


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
            _leave(self.folder)


def main(arguments: list[str] | None = None) -> int:
    """Run the job and return the exit status.

    Args:
        arguments: the path of the job file; None takes it from the command line.
    """
    keep_freed_memory()
    let_waiting_threads_sleep()
    job_file = Path((arguments or sys.argv[1:])[0]).resolve()
    report = Reporter()
    try:
        job = JobDescription.from_json(job_file.read_text(encoding="utf-8"))
        report.folder = None if job.keep_files else job_file.parent
        _end_with_parent(report.folder)
        # From here on files are named without their folder: on Windows, ITK in python.exe cannot open a path with
        # non-ASCII letters, and the folder's path may contain the user's name.
        os.chdir(job_file.parent)
        run(job, Path(), report)
    except RegistrationError as error:
        report.error(str(error))
    except ModuleNotFoundError as error:
        report.error(f"The Python package {error.name} is missing; install it and register again.")
    except Exception as error:
        traceback.print_exc()
        report.error(NOT_ENOUGH_MEMORY if lacks_memory(error) else f"{unexpected(error)}; the log has the details.")
    else:
        return 0
    return 1


def run(job: JobDescription, folder: Path, report: Reporter) -> None:
    """Register a pair, and write the results that the job requests.

    Args:
        job: what to do.
        folder: of its files; `result/` is created in it.
        report: receives the progress.

    Raises:
        RegistrationError: as `register` does, and where torch cannot be loaded.
    """
    report.progress(0.0, "Loading the network")
    _load_torch()
    # Imported after the first report, because loading torch takes seconds.
    from .. import register
    from ..files.rescue import write_somewhere
    from .results import write_extras, write_results

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
    place, _ = write_somewhere(
        lambda target: write_results(
            registration,
            job,
            target,
            lambda fraction, message: report.progress(REGISTERING + (RESULTS - REGISTERING) * fraction, message),
        ),
        folder / RESULT,
    )
    report.results(place)
    write_extras(
        registration,
        job,
        place / EXTRAS,
        lambda fraction, message: report.progress(RESULTS + (1 - RESULTS) * fraction, message),
    )
    report.done()


def _load_torch() -> None:
    """Import torch.

    Raises:
        ModuleNotFoundError: where it is not installed.
        RegistrationError: where it is installed but cannot be loaded, because it is incomplete or for another system.
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
        _leave(folder)

    threading.Thread(target=wait, daemon=True).start()


def _leave(folder: Path | None) -> None:
    """End this process at once, because the parent process has ended, and remove its folder."""
    if folder is not None:
        os.chdir(folder.parent)  # Windows cannot remove a process's current folder
        shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main())
