"""The program's own processes tell OpenMP how long a thread waits before torch, and with it OpenMP, is loaded."""

from __future__ import annotations

import os
import subprocess
import sys

CODE = """
import os, sys
from ULAERegistrationLib import __main__
from ULAERegistrationLib.cli import main
assert "torch" not in sys.modules
main.main = lambda: print(os.environ["GOMP_SPINCOUNT"], "torch" in sys.modules) or 0
__main__.run()
"""


def said(environment: dict[str, str]) -> str:
    done = subprocess.run([sys.executable, "-c", CODE], env=environment, capture_output=True, text=True, check=True)
    return done.stdout.strip()


def test_waiting_threads_sleep_soon_unless_the_user_has_said_otherwise():
    others = {name: value for name, value in os.environ.items() if name != "GOMP_SPINCOUNT"}
    assert said(others) == "10000 False"
    assert said(others | {"GOMP_SPINCOUNT": "7"}) == "7 False"
