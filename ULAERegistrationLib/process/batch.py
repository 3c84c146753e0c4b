"""Register a cohort: many pairs, each into its own folder, one after the other or on several workers.

Pairs that have a result of the same inputs, settings and weights are not registered again, so that the same call
continues after an interruption. A pair that fails has a line in the summary and does not stop the others. A pair that a
run has not reached keeps the line of an earlier run, or has one that says that it is not done.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path

from filelock import Timeout

from ..errors import RegistrationError
from ..files.writing import check_output_folder
from ..progress import Progress, silent
from ..settings import RegistrationSettings
from .cases import Case
from .made_from import has_result
from .pair import locked, run_case, standing_row
from .summary import CASE_DONE, CASE_NOT_DONE, Row, read_summary, write_summary

SUMMARY_SECONDS = 2.0  # at least so long between two summaries, as that of a large cohort takes a while to write


def run_batch(
    cases: Sequence[Case],
    folder: str | Path,
    settings: RegistrationSettings,
    progress: Progress = silent,
    finished: Callable[[Row], None] = lambda row: None,
    workers: int = 1,
    scheduler: str | None = None,
    began: Callable[[], None] = lambda: None,
) -> list[Row]:
    """Register every case into `folder/<name>/`, and keep `summary.csv` and `summary.html` of the folder up to date.

    Args:
        cases: as the functions of `cases` and `bids` return them.
        folder: of the cohort; a case whose folder holds a result of the same inputs, settings and weights is not
            registered again.
        settings: of all registrations.
        progress: called with the fraction done and what is being done; it may raise `Cancelled` to stop the batch.
        finished: called with the row of each case as it ends.
        workers: how many cases are registered at a time on this machine; 1 registers them in this process.
        scheduler: address of a Dask scheduler, whose workers register the cases instead; they must see the same files.
        began: called once before the first case, as soon as no other run can write to the folder.

    Returns:
        The rows of the summary, in the order of the cases.

    Raises:
        RegistrationError: where the folder cannot be written, at the beginning or later, or locked, another run is
            writing to it, or a scheduler cannot be reached, has ended, or needs the package `distributed`.
        Cancelled: where `progress` raises it; every file written until then is complete.
    """
    folder = check_output_folder(folder)
    rows = _rows_so_far(cases, folder)
    given = (cases, folder.absolute(), settings, progress)
    is_alone = workers == 1 and scheduler is None
    found = _rows_of_this_process(*given) if is_alone else _rows_of_workers(*given, workers, scheduler)
    try:
        with (
            locked(folder, ".batch", timeout=0),
            _kept_summary(rows, folder) as keep,
            closing(found) as ended,
        ):
            began()
            for number, row in enumerate(ended):
                keep(row)
                finished(row)
                if row["status"] == CASE_NOT_DONE:
                    left = f"{len(cases) - number} of {len(cases)} pairs are left"
                    advice = "free some space or make the folder writable, and give the same call again"
                    raise RegistrationError(f"{row['message']} {left}; {advice}, which goes on with them.")
    except Timeout:
        raise RegistrationError(
            f"Another run is writing to {folder}; wait until it has ended, or choose another folder."
        ) from None
    progress(1.0, "Done")
    return list(rows.values())


def _rows_of_this_process(
    cases: Sequence[Case], folder: Path, settings: RegistrationSettings, progress: Progress
) -> Generator[Row]:
    """Register the cases one after the other, and yield the row of each as it ends."""
    for number, case in enumerate(cases):

        def within(fraction: float, message: str, number: int = number, name: str = case.name) -> None:
            progress((number + fraction) / len(cases), f"{name}: {message}")

        yield run_case(case, folder / case.name, settings, within)


def _rows_of_workers(
    cases: Sequence[Case],
    folder: Path,
    settings: RegistrationSettings,
    progress: Progress,
    workers: int,
    scheduler: str | None,
) -> Generator[Row]:
    """Yield the rows of the cases whose results are there, then those of the others as workers end them.

    A worker starts a process for each case that it is given, which loads torch before it looks.
    """
    from .cluster import run_on_cluster
    from .local_workers import run_on_this_machine

    left, ended = [], 0
    for case in cases:
        row = standing_row(case, folder / case.name, settings)
        if row is None:
            left.append(case)
            continue
        yield row
        ended += 1
        progress(ended / len(cases), f"{ended} done")
    if not left:
        return

    def done(pairs: float) -> None:
        progress((len(cases) - len(left) + pairs) / len(cases), f"{ended} done")

    on_workers = (
        run_on_this_machine(left, folder, settings, workers, done)
        if scheduler is None
        else run_on_cluster(left, folder, settings, scheduler, done)
    )
    with closing(on_workers):
        for row in on_workers:
            ended += 1
            yield row


@contextmanager
def _kept_summary(rows: dict[str, Row], folder: Path) -> Iterator[Callable[[Row], None]]:
    """Keep the summary of a cohort up to date.

    Args:
        rows: of all cases, by name; those of the cases that end are replaced.
        folder: of the cohort.

    Yields:
        A function to be called with the row of each case that ends.

    Raises:
        RegistrationError: at the end, where the summary cannot be written and nothing else has ended the batch.
    """
    before = dict(rows)
    written = time.monotonic()

    def keep(row: Row) -> None:
        nonlocal written
        rows[row["name"]] = row
        if time.monotonic() - written > SUMMARY_SECONDS:
            # It is written once more at the end; one that is open elsewhere must not stop the batch.
            with suppress(RegistrationError):
                write_summary(list(rows.values()), folder)
            written = time.monotonic()

    try:
        yield keep
    except BaseException:
        if rows != before:
            with suppress(RegistrationError):  # what has ended the batch is said instead
                write_summary(list(rows.values()), folder)
        raise
    write_summary(list(rows.values()), folder)


def _rows_so_far(cases: Sequence[Case], folder: Path) -> dict[str, Row]:
    """Return what an earlier run has left in the summary of the cases; a case of which it has left nothing is not done.

    Returns:
        The rows by name, in the order of the cases.
    """
    earlier = read_summary(folder)
    rows: dict[str, Row] = {}
    for case in cases:
        row = earlier.get(case.name)
        if row is None or (row["status"] == CASE_DONE and not has_result(folder / case.name)):
            row = {"name": case.name, "status": CASE_NOT_DONE, "message": ""}
        rows[case.name] = row
    return rows


def results_of_others(cases: Sequence[Case], folder: str | Path) -> list[str]:
    """Name the folders of a cohort that hold the result of a pair which is not among the cases."""
    names = {case.name for case in cases}
    return sorted(path.name for path in Path(folder).glob("*/") if path.name not in names and has_result(path))
