"""Register the cases of a cohort on a cluster, by the Dask scheduler and workers that somebody started.

Each case runs in a process of its own, which a worker starts and follows. Where a worker dies, the scheduler gives its
case to another one; where the case's own process dies, for want of memory say, that case alone fails.
"""

from __future__ import annotations

import logging
import os
from collections import Counter
from collections.abc import Callable, Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from ..errors import RegistrationError
from ..settings import RegistrationSettings
from ..threads import usable_cores
from .case_process import PROGRAM, run_case_in_process, with_log_shown
from .cases import Case
from .pair import failed_row, told
from .summary import Row

if TYPE_CHECKING:
    from distributed import Client

CONNECT_SECONDS = 20


def run_on_cluster(
    cases: Sequence[Case],
    folder: Path,
    settings: RegistrationSettings,
    scheduler: str,
    done: Callable[[float], None] = lambda pairs: None,
    program: Sequence[str] = PROGRAM,
) -> Generator[Row]:
    """Register cases on the workers of a scheduler, and yield the row of each as it ends.

    Args:
        cases: the pairs.
        folder: of the cohort, absolute.
        settings: of all registrations.
        scheduler: address of a Dask scheduler.
        done: called with how many pairs are done as each ends. It may raise `Cancelled` to stop.
        program: what a worker runs for each case, as arguments of its Python.

    Raises:
        RegistrationError: where the package `distributed` is missing, the scheduler cannot be reached, or it ends.
    """
    try:
        from distributed import as_completed
    except ModuleNotFoundError:
        raise RegistrationError(
            "A scheduler is reached by the Python package distributed; install it with `pip install distributed`."
        ) from None
    if settings.model is not None:  # workers have working folders of their own
        settings = replace(settings, model=os.path.abspath(settings.model))
    with _client(scheduler) as client:
        slots = _slots(client)
        waiting = {
            client.submit(
                _run_on_worker,
                replace(case, files={column: path.absolute() for column, path in case.files.items()}),
                folder / case.name,
                settings,
                slots,
                tuple(program),
                pure=False,  # a key of its own, so that pairs of one name in two cohorts stay two pairs
            ): case
            for case in cases
        }
        for number, future in enumerate(as_completed(waiting), start=1):
            case = waiting[future]
            if future.status == "finished":
                yield with_log_shown(*future.result())
            elif future.status == "error":
                yield failed_row(case, _reason(future.exception()))
            else:
                raise RegistrationError("The scheduler has ended; the same call goes on with the pairs that are left.")
            done(number)


def _run_on_worker(
    case: Case, target: Path, settings: RegistrationSettings, slots: Mapping[str, int], program: Sequence[str]
) -> tuple[Row, str]:
    """Register a case on a worker; `slots` says how many run at a time on each machine, by its address."""
    from distributed import get_worker

    worker = get_worker()
    at_a_time = slots.get(worker.ip, worker.state.nthreads)
    return run_case_in_process(case, target, settings, max(1, usable_cores() // at_a_time), program)


@contextmanager
def _client(scheduler: str) -> Iterator[Client]:
    """Connect to a scheduler for the length of the block."""
    import dask
    from distributed import Client

    for name in ("distributed", "distributed.client"):  # whose messages would be mixed with ours
        logging.getLogger(name).setLevel(logging.CRITICAL)
    with dask.config.set({"logging.distributed": "critical"}):
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
    return told(error)
