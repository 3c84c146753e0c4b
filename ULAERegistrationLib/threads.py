"""The threads of processes that only register or train: how many there can be, and how long torch's wait."""

from __future__ import annotations

import os
from contextlib import suppress
from pathlib import Path

# Turns of the loop in which a thread waits before it sleeps; GNU's OpenMP, which torch uses on Linux, takes 300,000.
SPINS = "10000"
QUOTA = Path("/sys/fs/cgroup/cpu.max")  # microseconds of all cores in each period, or "max", and the period


def let_waiting_threads_sleep() -> None:
    """Let a thread that waits for the others give its core away soon; what the environment says comes first.

    By default it holds the core for milliseconds, at each of thousands of waits. Where another program needs that core,
    the thread that is waited for does not get it: beside another registration the network took more than ten seconds
    instead of four. Alone, a registration takes about as long as before. It has to be called before torch is loaded.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)


def usable_cores() -> int:
    """Return how many cores this process may use: fewer than the machine has in a job of a cluster or a container."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    with suppress(OSError, ValueError):  # on other systems, and without a quota
        quota, period = map(int, QUOTA.read_text().split())
        cores = min(cores, max(1, quota // period))
    return cores
