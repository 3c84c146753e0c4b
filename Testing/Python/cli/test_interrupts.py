"""Ctrl-C and SIGTERM end a command in one line that says what is kept, and leave nothing half written."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import SimpleITK as sitk

from ULAERegistrationLib.cli import interrupts
from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.errors import Cancelled
from ULAERegistrationLib.output import folder
from ULAERegistrationLib.process import batch, cases

HALF_WAY = """
import sys, time
from ULAERegistrationLib import __main__
from ULAERegistrationLib.files import volumes
def write(image, path):
    path.write_text("half")
    try:
        print("half way", flush=True)
        time.sleep(60)
    finally:
        print("stopping", flush=True)
        time.sleep(0.3)
        print("removed", flush=True)
volumes.write_checked = write
sys.exit(__main__.run())
"""


@pytest.mark.parametrize("how", [KeyboardInterrupt, Cancelled])
def test_a_batch_that_is_interrupted_says_that_what_is_done_is_kept(tmp_path, capsys, monkeypatch, how) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise how

    monkeypatch.setattr(cases, "read_cases", lambda table: [])
    monkeypatch.setattr(batch, "run_batch", interrupted)
    assert main(["batch", "cohort.csv", "-o", str(tmp_path / "out")]) == 1
    assert capsys.readouterr().err == (
        "ulae: cancelled, nothing was written of the pair in work; the pairs before it are kept\n"
    )


def test_a_batch_with_several_pairs_in_work_says_that_nothing_is_written_of_them(tmp_path, capsys, monkeypatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cases, "read_cases", lambda table: [])
    monkeypatch.setattr(batch, "run_batch", interrupted)
    assert main(["batch", "cohort.csv", "-o", str(tmp_path / "out"), "--workers", "2"]) == 1
    assert capsys.readouterr().err == (
        "ulae: cancelled, nothing was written of the pairs in work; those that were done are kept\n"
    )


@pytest.mark.skipif(os.name == "nt", reason="Windows gives the signal to all processes of the console")
def test_where_saving_is_interrupted_no_thread_writes_on_and_nothing_is_left(tmp_path, monkeypatch) -> None:
    began = []

    def slow(content: object, path: Path) -> None:
        began.append(path.name)
        if len(began) == 3:  # when the main thread waits
            os.kill(os.getpid(), signal.SIGINT)
        time.sleep(0.5)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("an image")

    monkeypatch.setattr(folder, "write_transform", slow)
    monkeypatch.setattr(folder, "write_image", slow)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    steps = [folder.SavedStep(f"phi{number}", object(), object()) for number in (1, 2, 3)]
    given = dict.fromkeys(("transform", "warped", "aligned"), object())
    try:
        with pytest.raises(KeyboardInterrupt):
            folder.save_folder(tmp_path / "out", **given, steps=steps, quality={}, report=None, pictures=None, masks={})
    finally:
        signal.signal(signal.SIGINT, before)
    time.sleep(0.7)
    assert not list(tmp_path.rglob("*"))
    assert len(began) <= 5  # of eight


def test_a_batch_on_a_scheduler_says_that_its_workers_finish_what_they_began(tmp_path, capsys, monkeypatch) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(cases, "read_cases", lambda table: [])
    monkeypatch.setattr(batch, "run_batch", interrupted)
    assert main(["batch", "cohort.csv", "-o", str(tmp_path / "out"), "--scheduler", "tcp://node1:8786"]) == 1
    assert capsys.readouterr().err == (
        "ulae: cancelled; the scheduler's workers finish the pairs in work, and the same call goes on from there\n"
    )


@pytest.mark.parametrize(
    ("command", "place", "ending"),
    [
        (["train", "brains", "--pack"], "training.data.pack", "cancelled, nothing was written"),
        (
            ["train", "scans", "--prepare"],
            "training.preparation.prepare",
            "cancelled; what was finished is kept, and the same call goes on from there",
        ),
        (["demo"], "simulation.simulate", "cancelled; what was written before stays in out.npz"),
    ],
)
def test_a_command_that_is_interrupted_says_what_is_kept(tmp_path, capsys, monkeypatch, command, place, ending) -> None:
    def interrupted(*_: object, **__: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(f"ULAERegistrationLib.{place}", interrupted)
    assert main([*command, "-o", "out.npz"]) == 1
    assert capsys.readouterr().err == f"ulae: {ending}\n"


def test_the_second_wish_to_stop_is_granted_at_once(monkeypatch, capsys) -> None:
    monkeypatch.setattr(interrupts, "SAME_REQUEST_SECONDS", 0.0)
    with interrupts.stop_request() as request:
        assert not request.is_made()
        signal.raise_signal(signal.SIGINT)
        assert request.is_made()
        with pytest.raises(KeyboardInterrupt):
            signal.raise_signal(signal.SIGINT)
    assert capsys.readouterr().err == "ulae: stopping after this step; once more after 0 s stops at once\n"


@pytest.mark.slow
@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGTERM")
@pytest.mark.parametrize("ending", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_while_a_file_is_written_leaves_nothing(tmp_path, ending) -> None:
    sitk.WriteImage(sitk.GaussianSource(size=[10, 10, 10]), str(tmp_path / "scan.nii.gz"))
    sitk.WriteTransform(sitk.TranslationTransform(3), str(tmp_path / "shift.tfm"))
    command = [sys.executable, "-c", HALF_WAY, "apply", "shift.tfm", "scan.nii.gz", "--like", "scan.nii.gz"]
    with subprocess.Popen(
        [*command, "-o", "out.nii.gz"],
        cwd=tmp_path,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A shell lets what it starts in the background ignore Ctrl-C, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:
        assert process.stdout.readline() == "half way\n"
        process.send_signal(ending)
        assert process.stdout.readline() == "stopping\n"
        process.send_signal(ending)  # an impatient person, or `make`, which passes on what its whole group gets
        assert process.wait(30) == 1
        assert process.stdout.read() == "removed\n"
        assert process.stderr.read() == "ulae: cancelled, nothing was written\n"
    assert {path.name for path in tmp_path.iterdir()} == {"scan.nii.gz", "shift.tfm"}


def test_signals_are_handled_as_before_once_the_block_has_ended() -> None:
    before = [signal.getsignal(number) for number in interrupts.SIGNALS]
    with interrupts.stop_request():
        pass
    assert [signal.getsignal(number) for number in interrupts.SIGNALS] == before
