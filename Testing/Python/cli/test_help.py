"""The command line explains itself: every command has examples that are right, and progress that suits the reader."""

from __future__ import annotations

import argparse
import os
import re
import shlex
import subprocess
import sys

import pytest

from ULAERegistrationLib.cli import main as command_line
from ULAERegistrationLib.cli.options import pair_name, progress_bar
from ULAERegistrationLib.geometry.resampling import INTERPOLATIONS


def commands() -> dict[str, argparse.ArgumentParser]:
    parser = command_line._parser()
    return next(action for action in parser._actions if isinstance(action, argparse._SubParsersAction)).choices


@pytest.mark.parametrize("name", commands())
def test_every_command_has_examples_that_it_accepts(name: str) -> None:
    examples = re.findall(r"^ *ulae (.*)$", commands()[name].format_help().partition("examples:")[2], re.MULTILINE)
    assert examples
    for example in examples:
        assert command_line._parser().parse_args(shlex.split(example.partition(" > ")[0])).command == name


def test_the_help_says_what_the_exit_status_means_and_fits_a_terminal(monkeypatch) -> None:
    monkeypatch.setenv("COLUMNS", "100")
    text = command_line._parser().format_help()
    for words in ("exit status:", "0  done", "1  failed", "2  wrong usage"):
        assert words in text
    assert max(map(len, text.splitlines())) <= 100


def test_without_a_command_the_help_is_shown(capsys) -> None:
    assert command_line.main([]) == 2
    assert "commands:" in capsys.readouterr().err


def test_every_way_of_sampling_can_be_asked_for() -> None:
    (action,) = (action for action in commands()["apply"]._actions if action.dest == "interpolation")
    assert action.choices == INTERPOLATIONS


def test_the_first_line_of_a_registration_comes_before_torch_is_loaded() -> None:
    program = (
        "import sys\n"
        "from ULAERegistrationLib.cli import options, register\n"
        "from ULAERegistrationLib.cli.main import main\n"
        "from ULAERegistrationLib.geometry.canonical import TEMPLATE\n"
        "def shown(fraction, message): raise SystemExit(int('torch' in sys.modules))\n"
        "options._once = lambda line: shown\n"
        "main(['register', str(TEMPLATE), str(TEMPLATE), '--warped', 'w.nii.gz'])\nraise SystemExit(2)"
    )
    assert subprocess.run([sys.executable, "-c", program], stderr=subprocess.PIPE).returncode == 0


def test_off_a_terminal_progress_is_one_line_that_names_the_pair(capsys) -> None:
    with progress_bar(False, pair_name("/data/a/fixed.nii.gz", "/data/b/moving.nii.gz")) as progress:
        assert capsys.readouterr().err == "", "nothing before the input has been accepted"
        for part in range(500):
            progress(part / 500, "Aligning the brains")
    assert capsys.readouterr().err == "ulae: moving.nii.gz to fixed.nii.gz\n"


@pytest.mark.skipif(os.name == "nt", reason="Windows has no pseudo terminals")
def test_on_a_terminal_a_bar_names_the_pair_and_what_is_being_done() -> None:
    import pty
    import termios

    program = (
        "from ULAERegistrationLib.cli.options import progress_bar\n"
        "with progress_bar(False, 'b to a') as progress: progress(0.5, 'Aligning')"
    )
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (30, 100))
    subprocess.run([sys.executable, "-c", program], stderr=theirs, check=True)
    os.close(theirs)
    seen = os.read(ours, 10_000).decode()
    os.close(ours)
    assert "50%" in seen
    assert "b to a: Aligning" in seen
    assert "\x1b[3" not in seen, "no colours"
