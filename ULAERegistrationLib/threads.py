"""How long torch's threads wait for one another in processes that only register or train."""

from __future__ import annotations

import os

# Turns of the loop in which a thread waits before it sleeps; GNU's OpenMP, which torch uses on Linux, takes 300,000.
SPINS = "10000"


def let_waiting_threads_sleep() -> None:
    """Let a thread that waits for the others give its core away soon; what the environment says comes first.

    By default it holds the core for milliseconds, at each of thousands of waits. Where another program needs that core,
    the thread that is waited for does not get it: beside another registration the network took more than ten seconds
    instead of four. Alone, a registration takes about as long as before. It has to be called before torch is loaded.
    """
    os.environ.setdefault("GOMP_SPINCOUNT", SPINS)
