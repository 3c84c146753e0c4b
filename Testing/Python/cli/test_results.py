"""What becomes of a command's results where one of them fails, or the user interrupts."""

from __future__ import annotations

import signal
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.cli.results import Results
from ULAERegistrationLib.errors import Cancelled, RegistrationError
from ULAERegistrationLib.files import rescue
from ULAERegistrationLib.files.rescue import write_somewhere
from ULAERegistrationLib.files.volumes import write_image


@pytest.fixture
def image() -> sitk.Image:
    made = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=(9, 10, 11)).astype(np.float32))
    made.SetOrigin((1.0, 2.0, 3.0))
    return made


def write_in_turn(*results: tuple[Callable[[Path], object], Path]) -> None:
    with Results() as written:
        for write, target in results:
            written.write(write, target)


def write_side_by_side(*results: tuple[Callable[[Path], object], Path]) -> None:
    with Results() as written:
        written.write_side_by_side([*results, (results[0][0], None)])


WAYS = pytest.mark.parametrize("write_all", [write_in_turn, write_side_by_side])


@WAYS
def test_a_result_that_no_place_takes_is_said(write_all, tmp_path, monkeypatch) -> None:
    def fail(path: Path) -> None:
        raise RegistrationError(f"{path} could not be written (disk full); choose another place.")

    monkeypatch.setattr(rescue, "other_places", lambda: iter([tmp_path / "a", tmp_path / "b"]))
    with pytest.raises(RegistrationError, match=r"\(disk full\), nor could another place; free some space"):
        write_somewhere(fail, tmp_path / "x.nii.gz")
    with pytest.raises(RegistrationError, match="nor could another place"):
        write_all((fail, tmp_path / "x.nii.gz"), (lambda path: path.write_text("1"), tmp_path / "next"))
    assert (tmp_path / "next").read_text() == "1"


def test_what_fails_after_the_results_is_said_after_what_is_wrong_with_them(tmp_path, image, monkeypatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "closed").write_text("no folder")

    def write_and_fail() -> None:
        with Results() as written:
            written.write(partial(write_image, image), tmp_path / "closed" / "a.nii.gz")
            raise RegistrationError("Two labels have one name.")

    with pytest.raises(RegistrationError, match=r"a\.nii\.gz instead\. Two labels have one name\."):
        write_and_fail()


@WAYS
def test_one_result_that_fails_does_not_keep_the_others_from_being_written(
    write_all, tmp_path, image, monkeypatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    (tmp_path / "closed").write_text("no folder")
    write = partial(write_image, image)
    with pytest.raises(RegistrationError, match=r"closed \(it is not a folder\)\. .* is in .*a\.nii\.gz instead"):
        write_all((write, tmp_path / "closed" / "a.nii.gz"), (write, tmp_path / "b.nii.gz"))
    assert (tmp_path / "b.nii.gz").is_file()


def test_an_interruption_between_two_results_says_which_are_there(tmp_path, image) -> None:
    def interrupted(path: Path) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_in_turn((interrupted, tmp_path / "a.nii.gz"))
    with pytest.raises(Cancelled, match=r"cancelled; written before: .*b\.nii\.gz"):
        write_in_turn((partial(write_image, image), tmp_path / "b.nii.gz"), (interrupted, tmp_path / "c.nii.gz"))


def test_an_interruption_waits_for_results_that_are_written_side_by_side(tmp_path) -> None:
    def interrupts(path: Path) -> None:
        time.sleep(0.3)  # the other one has begun
        signal.raise_signal(signal.SIGINT)  # which the main thread hears
        path.write_text("first")

    def slow(path: Path) -> None:
        time.sleep(1)
        path.write_text("second")

    with pytest.raises(Cancelled, match=r"cancelled; written before: .*first, .*second"):
        write_side_by_side((interrupts, tmp_path / "first"), (slow, tmp_path / "second"))
    assert (tmp_path / "second").read_text() == "second"
