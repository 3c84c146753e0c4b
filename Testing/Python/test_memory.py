"""Freed memory stays with our own processes, and with those alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is Linux's")

PROGRAM = """
import threading
import numpy as np
from pathlib import Path
from ULAERegistrationLib.memory import keep_freed_memory, return_freed_memory
{first}
def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 2**10
def use():
    arrays = [np.ones(1_000_000) for _ in range(40)]
def use_in_another_thread():
    other = threading.Thread(target=use)
    other.start()
    other.join()
before = resident()
{then}
print(resident() - before)
"""
USED = 305  # MB that `use` touches


def growth(first: str, then: str) -> float:
    """Return by how many MB a Python process grows."""
    program = [sys.executable, "-c", PROGRAM.format(first=first, then=then)]
    return float(subprocess.run(program, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize(
    ("first", "then", "kept"),
    [
        ("keep_freed_memory()", "use()", USED),
        ("", "use()", 0),
        ("keep_freed_memory()", "use(); return_freed_memory()", 0),
    ],
)
def test_freed_memory_is_kept_where_that_was_asked_for_until_it_is_returned(first, then, kept):
    assert growth(first, then) == pytest.approx(kept, abs=20)


def test_what_one_thread_has_freed_is_used_by_another():
    assert growth("keep_freed_memory()", "use_in_another_thread(); use()") == pytest.approx(USED, abs=20)
