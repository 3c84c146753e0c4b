"""The program ends without taking apart what it has loaded, and loses nothing by that."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

PROGRAM = """
import atexit, os, sys
from ULAERegistrationLib import __main__
from ULAERegistrationLib.cli import main

class Loaded:
    def __del__(self, write=os.write):
        write(2, b"taken apart")

loaded = Loaded()

def command():
    atexit.register(print, "tidied up")
    print("result, ", end="")
    {command}

main.main = command
__main__.program()
"""


def ended(command: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([sys.executable, "-c", PROGRAM.format(command=command)], capture_output=True, text=True)


def test_all_is_said_and_tidied_up_and_the_status_is_that_of_the_command() -> None:
    for status in (0, 1, 2):
        done = ended(f"return {status}")
        assert (done.returncode, done.stdout, done.stderr) == (status, "result, tidied up\n", "")


def test_what_python_has_to_tell_of_it_tells() -> None:
    failed = ended("raise ZeroDivisionError('a fault')")
    assert failed.returncode == 1
    assert failed.stdout == "result, tidied up\n"
    assert "ZeroDivisionError: a fault" in failed.stderr
    stopped = ended("raise KeyboardInterrupt")
    assert (stopped.returncode, stopped.stdout) == (1, "result, tidied up\n")
    assert stopped.stderr == "ulae: cancelled\n"
    usage = ended("sys.exit(2)")
    assert (usage.returncode, usage.stdout) == (2, "result, tidied up\n")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="only Linux has a device that is always full")
def test_output_that_cannot_be_written_is_no_success() -> None:
    with open("/dev/full", "w") as full:
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM.format(command="return 0")], stdout=full, stderr=subprocess.PIPE, text=True
        )
    assert done.returncode != 0
    assert "No space left" in done.stderr
