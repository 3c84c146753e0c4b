"""The threads of processes that only register or train: how many there are, and how long they wait."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

# Turns of the loop in which a thread waits before it sleeps; GNU's OpenMP, which torch uses on Linux, takes 300,000.
SPINS = "10000"
# Linux's groups of processes, which may have a quota: so many microseconds of all cores in each period.
GROUPS, OWN_GROUPS = Path("/sys/fs/cgroup"), Path("/proc/self/cgroup")


def spare_the_cores() -> None:
    """Let threads that wait hold no core for long; what the environment says comes first.

    By default a thread of torch that waits for the others holds its core for milliseconds, at each of thousands of
    waits. Where another program needs that core, the thread that is waited for does not get it: beside another
    registration the network took 45 s, where it takes 6 to 9 s now (docs/speed.md). Alone, a registration takes about
    as long as before. Threads of numpy's linear algebra wait in the same way. Its matrices are small here, so it gets
    one thread, which takes a fifth off the time that both cores spend on the alignment.

    It has to be called before numpy and torch are loaded.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")


def usable_cores() -> int:
    """Return how many cores this process may use: fewer than the machine has in a job of a cluster or a container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    for texts in _quotas():
        with suppress(OSError, ValueError):  # there is none, or "max"
            quota, period = (int(number) for path in texts for number in path.read_text().split())
            if quota > 0:
                cores = min(cores, -(-quota // period))
    return cores


def _quotas() -> list[list[Path]]:
    """List the files that may hold a quota and its period: of the process's own group and of its container's."""
    own = []
    with suppress(OSError):
        own = [line.rpartition(":")[2].strip("/") for line in OWN_GROUPS.read_text().splitlines()]
    second = [[GROUPS / name / "cpu.max"] for name in {"", *own}]
    first = [[GROUPS / "cpu" / name / f"cpu.cfs_{what}_us" for what in ("quota", "period")] for name in {"", *own}]
    return second + first
