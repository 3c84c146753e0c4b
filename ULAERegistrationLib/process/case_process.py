"""Register one case of a cohort in a process of its own, for want of memory in which that case alone fails."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from ..errors import Cancelled
from ..files.writing import remove_stale
from ..progress import Progress, silent
from ..settings import RegistrationSettings
from .cases import Case, CaseJob
from .job import DONE, RUNNING, Job
from .pair import failed_row
from .summary import CASE_FAILED, Row

PROGRAM = ("-m", "ULAERegistrationLib.process.case_worker")
LOOK_SECONDS = 0.2  # between two looks at the process


def run_case_in_process(
    case: Case,
    target: Path,
    settings: RegistrationSettings,
    threads: int,
    program: Sequence[str] = PROGRAM,
    progress: Progress = silent,
) -> tuple[Row, str]:
    """Register a case in a process of its own, and return its row of the summary and its log.

    Args:
        case: the pair.
        target: the folder for its result.
        settings: of the registration.
        threads: how many it computes with.
        program: what is run, as arguments of this Python.
        progress: called again and again with the fraction done and what is being done.

    Raises:
        RegistrationError: where there is no place for temporary files.
        Cancelled: where `progress` raises it; the process is killed then, and what it has begun to write is removed.
    """
    job = CaseJob(case=case, target=target, settings=settings, threads=threads)
    was_there = target.exists()
    try:
        with Job() as process:
            process.start(job, command=[sys.executable, *program])
            while process.wait(LOOK_SECONDS) == RUNNING:
                progress(process.fraction, process.message)
            if process.state == DONE and process.outcome:
                return process.outcome, process.log
            return failed_row(case, process.error), process.log
    except Cancelled:
        remove_stale(target)
        if not was_there:
            with suppress(OSError):  # it holds more, or was never made
                target.rmdir()
        raise


def with_log_shown(row: Row, log: str) -> Row:
    """Return a row; where the case failed, its log goes to standard error, as nothing else keeps it."""
    if row["status"] == CASE_FAILED and log:
        print(f"{row['name']}:\n{log}", file=sys.stderr, flush=True)
    return row
