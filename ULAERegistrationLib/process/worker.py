"""The process that computes a registration for Slicer: it reads a job file and writes JSON lines and result files.

`job.Job` starts it as `python -m ULAERegistrationLib.process.worker job.json`; the file holds a `job.JobDescription`.
It writes lines to standard output, {"fraction": 0.4, "message": "Network, step 2 of 3"}, and {"error": sentence} if it
fails (exit status 1). The results go to `result/` beside the job file, or, where that cannot be written, to another
place; a line says so, {"results": folder}, as soon as they are whole. What the job asks for beside them follows in
their folder `extras`. `process.results` lists all of them.
"""

from __future__ import annotations

import os
import sys
import traceback
from pathlib import Path

from ..errors import NOT_ENOUGH_MEMORY, RegistrationError, lacks_memory, unexpected
from ..memory import keep_freed_memory
from ..threads import spare_the_cores
from .job import EXTRAS, RESULT, JobDescription
from .reporter import RESULTS, Reporter, end_with_parent

_REPAIR = (
    "PyTorch cannot be loaded ({}); in Slicer, uninstall it in the module PyTorch Utils, restart Slicer and install it"
    " again."
)
REGISTERING = 0.94  # of the progress: `register()`; then come the result's files up to `RESULTS`, then the extras


def main(arguments: list[str] | None = None) -> int:
    """Run the job and return the exit status.

    Args:
        arguments: the path of the job file; None takes it from the command line.
    """
    keep_freed_memory()
    spare_the_cores()
    job_file = Path((arguments or sys.argv[1:])[0]).resolve()
    report = Reporter()
    try:
        job = JobDescription.from_json(job_file.read_text(encoding="utf-8"))
        report.folder = None if job.keep_files else job_file.parent
        end_with_parent(report.folder)
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
    from ..loading import load_torch

    try:
        load_torch()
    except ModuleNotFoundError as error:
        if error.name == "torch":
            raise
        raise RegistrationError(_REPAIR.format(error)) from error
    except (ImportError, OSError) as error:
        raise RegistrationError(_REPAIR.format(error)) from error


if __name__ == "__main__":
    sys.exit(main())
