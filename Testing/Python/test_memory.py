"""Freed memory stays with our own processes, and with those alone."""

from __future__ import annotations

import subprocess
import sys

import pytest

PROGRAM = """
import numpy as np
from pathlib import Path
from ULAERegistrationLib.memory import keep_freed_memory, return_freed_memory
{keeps}
def resident():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS")) / 2**10
before = resident()
large = np.ones(40_000_000)
del large
{returns}
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="glibc's allocator is Linux's")
@pytest.mark.parametrize(
    ("keeps", "returns", "kept"),
    [("keep_freed_memory()", "", 305), ("", "", 0), ("keep_freed_memory()", "return_freed_memory()", 0)],
)
def test_freed_memory_is_kept_where_that_was_asked_for_until_it_is_returned(keeps, returns, kept):
    program = [sys.executable, "-c", PROGRAM.format(keeps=keeps, returns=returns)]
    megabytes = float(subprocess.run(program, capture_output=True, text=True, check=True).stdout)
    assert megabytes == pytest.approx(kept, abs=20)
