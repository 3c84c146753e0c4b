"""Register the cases of a cohort several at a time on this machine, each in a process of its own."""

from __future__ import annotations

from collections.abc import Callable, Generator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from pathlib import Path
from threading import Event

from ..errors import Cancelled
from ..progress import Progress
from ..settings import RegistrationSettings
from ..threads import usable_cores
from .case_process import LOOK_SECONDS, PROGRAM, run_case_in_process, with_log_shown
from .cases import Case
from .pair import failed_row, told
from .summary import Row


def run_on_this_machine(
    cases: Sequence[Case],
    folder: Path,
    settings: RegistrationSettings,
    workers: int,
    done: Callable[[float], None] = lambda pairs: None,
    program: Sequence[str] = PROGRAM,
) -> Generator[Row]:
    """Register cases several at a time, and yield the row of each as it ends.

    A thread follows each process. Where the generator is closed, all processes are killed, and what they have not
    finished leaves nothing.

    Args:
        cases: the pairs.
        folder: of the cohort.
        settings: of all registrations.
        workers: how many at a time; the cores are shared out among them.
        done: called again and again with how many pairs are done, parts of pairs counted as such. It may raise
            `Cancelled` to stop.
        program: what is run for each case, as arguments of this Python.
    """
    workers = min(workers, len(cases))
    threads = max(1, usable_cores() // workers)
    fractions = [0.0] * len(cases)
    stopped = Event()

    def follow(number: int) -> Progress:
        def progress(fraction: float, _: str) -> None:
            if stopped.is_set():
                raise Cancelled
            fractions[number] = fraction

        return progress

    pool = ThreadPoolExecutor(max_workers=workers)
    try:
        running: dict[Future[tuple[Row, str]], int] = {}
        for number, case in enumerate(cases):
            given = (case, folder / case.name, settings, threads, program, follow(number))
            running[pool.submit(run_case_in_process, *given)] = number
        while running:
            # By turns, as Windows interrupts nothing that waits without end.
            for future in wait(running, LOOK_SECONDS, FIRST_COMPLETED).done:
                number = running.pop(future)
                fractions[number] = 1.0
                yield _row(cases[number], future)
            done(sum(fractions))
    finally:
        pool.shutdown(wait=False, cancel_futures=True)
        stopped.set()
        pool.shutdown()


def _row(case: Case, future: Future[tuple[Row, str]]) -> Row:
    try:
        row, log = future.result()
    except Exception as error:  # a pair that fails must not stop the others
        return failed_row(case, told(error))
    return with_log_shown(row, log)
