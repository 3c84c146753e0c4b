"""The program's own processes say how their threads use the cores before numpy and torch are loaded."""

from __future__ import annotations

import os
import subprocess
import sys

NAMES = ("GOMP_SPINCOUNT", "OPENBLAS_NUM_THREADS")
CODE = f"""
import os, sys
from ULAERegistrationLib import __main__
from ULAERegistrationLib.cli import main
main.main = lambda: print(*[os.environ[name] for name in {NAMES}], {{"numpy", "torch"}} & {{*sys.modules}} or "") or 0
__main__.run()
"""


def said(**given: str) -> str:
    environment = {name: value for name, value in os.environ.items() if name not in NAMES} | given
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_threads_that_wait_hold_no_core_unless_the_user_has_said_otherwise():
    assert said() == "10000 1"
    assert said(GOMP_SPINCOUNT="7") == "7 1"
    assert said(OPENBLAS_NUM_THREADS="2") == "10000 2"
