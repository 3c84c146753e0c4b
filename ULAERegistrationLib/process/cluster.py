"""Register the cases of a cohort on several workers, by Dask: on this machine, or on a cluster that somebody started.

Each case runs in a process of its own, which a worker starts and follows. Where a worker dies, the scheduler gives its
case to another one; where the case's own process dies, for want of memory say, that case alone fails.
"""

from __future__ import annotations

import logging
import os
import sys
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RegistrationError
from ..settings import RegistrationSettings
from .cases import Case, CaseJob
from .job import DONE, Job
from .pair import failed_row, sentence_of
from .summary import CASE_FAILED, Row

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 20
PROGRAM = ("-m", "ULAERegistrationLib.process.case_worker")


def run_on_workers(
    cases: Sequence[Case],
    folder: Path,
    settings: RegistrationSettings,
    workers: int,
    scheduler: str | None = None,
    program: Sequence[str] = PROGRAM,
) -> Iterator[Row]:
    """Register cases on several workers, and yield the row of each as it ends.

    The log of a case that failed goes to standard error, as nothing else keeps it.

    Args:
        cases: the pairs.
        folder: of the cohort, absolute.
        settings: of all registrations.
        workers: how many at a time on this machine, if there is no `scheduler`.
        scheduler: address of a Dask scheduler.
        program: what a worker runs for each case, as arguments of its Python.

    Raises:
        RegistrationError: where the package `distributed` is missing, the scheduler cannot be reached, or it ends.
    """
    try:
        from distributed import as_completed
    except ModuleNotFoundError:
        raise RegistrationError(
            "Several workers need the Python package distributed; install it with `pip install distributed`."
        ) from None
    if settings.model is not None:  # workers have working folders of their own
        settings = replace(settings, model=os.path.abspath(settings.model))
    with _client(workers, scheduler) as client:
        slots = _slots(client)
        waiting = {
            client.submit(
                run_case_in_process,
                replace(case, files={column: path.absolute() for column, path in case.files.items()}),
                folder / case.name,
                settings,
                slots,
                tuple(program),
                pure=False,  # a key of its own, so that pairs of one name in two cohorts stay two pairs
            ): case
            for case in cases
        }
        for future in as_completed(waiting):
            case = waiting[future]
            if future.status == "finished":
                row, log = future.result()
                if row["status"] == CASE_FAILED and log:
                    print(f"{case.name}:\n{log}", file=sys.stderr, flush=True)
                yield row
            elif future.status == "error":
                yield failed_row(case, _reason(future.exception()))
            else:
                raise RegistrationError("The scheduler has ended; the same call goes on with the pairs that are left.")


def run_case_in_process(
    case: Case, target: Path, settings: RegistrationSettings, slots: Mapping[str, int], program: Sequence[str] = PROGRAM
) -> tuple[Row, str]:
    """Register a case in a process of its own, on a worker, and return its row of the summary and its log.

    Args:
        case: the pair.
        target: the folder for its result.
        settings: of the registration.
        slots: how many cases run at a time on each machine, by its address; its cores are shared out among them.
        program: what is run, as arguments of this Python.
    """
    from dask.system import CPU_COUNT
    from distributed import get_worker

    worker = get_worker()
    at_a_time = slots.get(worker.ip, worker.state.nthreads)
    job = CaseJob(case=case, target=target, settings=settings, threads=max(1, CPU_COUNT // at_a_time))
    with Job() as process:
        process.start(job, command=[sys.executable, *program])
        if process.wait() == DONE and process.outcome:
            return process.outcome, process.log
        return failed_row(case, process.error), process.log


@contextmanager
def _client(workers: int, scheduler: str | None) -> Iterator[Client]:
    """Connect to a scheduler, or start one with workers on this machine, which ends with the block."""
    import dask
    from distributed import Client, LocalCluster

    # Dask's own messages would be mixed with ours; workers and the scheduler of this machine read this too.
    os.environ.setdefault("DASK_LOGGING__DISTRIBUTED", "critical")
    for name in ("distributed", "distributed.client"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with dask.config.set({"logging.distributed": "critical"}):
        if scheduler is None:
            # The registrations are processes of their own, of which Dask's limit of memory knows nothing. Its page of
            # the workers' state is for this machine alone.
            local = LocalCluster(
                n_workers=workers, threads_per_worker=1, memory_limit=0, dashboard_address="127.0.0.1:0"
            )
            with local as cluster, Client(cluster) as client:
                yield client
            return
        try:
            connected = Client(scheduler, timeout=CONNECT_SECONDS)
        except (OSError, ValueError) as error:
            raise RegistrationError(
                f"The scheduler {scheduler} cannot be reached ({error}); give the address that it printed at its start."
            ) from None
        with connected as client:
            yield client


def _slots(client: Client) -> dict[str, int]:
    """Count the cases that run at a time on each machine, by its address."""
    slots: Counter[str] = Counter()
    for worker in client.scheduler_info(n_workers=-1)["workers"].values():
        slots[worker["host"]] += worker["nthreads"]
    return dict(slots)


def _reason(error: BaseException) -> str:
    from distributed.scheduler import KilledWorker

    if isinstance(error, KilledWorker):
        return "Every worker that registered it died, most likely for want of memory; use fewer workers."
    return sentence_of(error)
