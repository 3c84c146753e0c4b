"""The script for a person with a Slicer, run here with a program that stands for one."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
SCRIPT = ROOT / "Testing" / "in-slicer.sh"


@pytest.fixture
def slicer(tmp_path) -> Path:
    """A program that says what it was told and ends as the file `status` says."""
    folder = tmp_path / "Slicer 5.12"
    folder.mkdir()
    program = folder / "Slicer"
    program.write_text(
        '#!/bin/sh\nfor word in "$@"; do echo "told: $word"; done\nexit $(cat "$(dirname "$0")/status")\n'
    )
    program.chmod(0o755)
    return program


@pytest.mark.parametrize("status", [0, 1])
@pytest.mark.parametrize("by", ["program", "folder"])
def test_slicer_is_told_to_run_the_self_tests_from_the_source(slicer, tmp_path, status, by):
    (slicer.parent / "status").write_text(str(status))
    log = tmp_path / "log.txt"
    command = [str(SCRIPT), str(slicer if by == "program" else slicer.parent), str(log)]
    assert subprocess.run(command, capture_output=True).returncode == status
    text = log.read_text()
    assert f"told: {ROOT}/ULAERegistration\n" in text
    assert "told: --testing\n" in text
    assert "'ULAERegistration')" in text
    assert text.endswith(f"exit status: {status}\n")
    assert "revision: " in text


SLICER_PACKAGE = """from types import SimpleNamespace
app = SimpleNamespace(applicationVersion="5.12.3", revision="0", platform="linux-amd64")
"""
SLICER_TESTING = """def runUnitTest(folders, name):
    print("tests:", folders, name)

def exitSuccess():
    raise SystemExit(0)
"""


def test_the_source_may_lie_in_a_folder_with_any_name(slicer, tmp_path):
    """The program that stands for Slicer runs the Python code that it is given."""
    root = tmp_path / "the 'best' of \"two\""
    (root / "Testing").mkdir(parents=True)
    script = shutil.copy(SCRIPT, root / "Testing")
    slicer.write_text(f'#!/bin/sh\nfor last; do :; done\nexec "{sys.executable}" -c "$last"\n')
    package = tmp_path / "python" / "slicer"
    package.mkdir(parents=True)
    (package / "__init__.py").write_text(SLICER_PACKAGE)
    (package / "testing.py").write_text(SLICER_TESTING)
    environment = {**os.environ, "PYTHONPATH": str(package.parent)}
    log = tmp_path / "log.txt"
    done = subprocess.run([str(script), str(slicer), str(log)], capture_output=True, text=True, env=environment)
    assert done.returncode == 0, done.stdout
    assert f"tests: {[str(root / 'ULAERegistration')]} ULAERegistration\n" in log.read_text()


def test_a_path_without_a_slicer_is_a_sentence(tmp_path):
    done = subprocess.run([str(SCRIPT), str(tmp_path)], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (2, f"There is no Slicer at {tmp_path}.\n")
