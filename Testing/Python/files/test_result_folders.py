"""A folder shows one result: a second one leaves nothing of the first, and nobody else's files are touched."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.files.writing import files_in, whole_folder_or_nothing


def write_result(folder: Path, *names: str, record: str = "quality.json") -> None:
    with whole_folder_or_nothing(folder) as partial:
        for name in (*names, record):
            (partial / name).parent.mkdir(exist_ok=True)
            (partial / name).write_text("new")
        (partial / record).write_text(json.dumps({"files": [*names, record]}))


def test_what_an_earlier_result_had_and_the_new_one_lacks_is_removed(tmp_path) -> None:
    write_result(tmp_path, "warped.nii.gz", "fixed_brain.nii.gz", "figures/flow.png")
    write_result(tmp_path, "warped.nii.gz", "warped_labels.nii.gz")
    assert files_in(tmp_path) == ["quality.json", "warped.nii.gz", "warped_labels.nii.gz"]


def test_the_files_of_others_stay_even_under_a_name_that_a_result_may_have(tmp_path) -> None:
    own = {"notes.txt", "moving_brain.nii.gz", "steps/own.txt"}
    (tmp_path / "steps").mkdir()
    for name in own:
        (tmp_path / name).write_text("my own")
    write_result(tmp_path, "warped.nii.gz", "steps/phi1.h5")
    write_result(tmp_path, "warped.nii.gz")
    assert set(files_in(tmp_path)) == own | {"warped.nii.gz", "quality.json"}
    assert {(tmp_path / name).read_text() for name in own} == {"my own"}


def test_no_record_of_an_earlier_result_speaks_for_the_new_one(tmp_path) -> None:
    """A single registration into the folder of a cohort's pair: the cohort must not take it for its own."""
    write_result(tmp_path, "quality.json", "thumbnail.jpg", record="made_from.json")
    write_result(tmp_path, "warped.nii.gz")
    assert files_in(tmp_path) == ["quality.json", "warped.nii.gz"]


@pytest.mark.parametrize("fails", ["quality.json", "fixed_brain.nii.gz", "warped.nii.gz", "new.nii.gz"])
def test_where_one_file_cannot_be_moved_the_earlier_result_stays_whole(tmp_path, monkeypatch, fails) -> None:
    """Windows keeps a file that a program has open."""
    write_result(tmp_path, "warped.nii.gz", "fixed_brain.nii.gz")
    before = {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)}
    (tmp_path / "warped.nii.gz").write_text("first")
    before["warped.nii.gz"] = b"first"
    replace = Path.replace

    def fail(path: Path, target: Path) -> None:
        if path.name == fails and (path.parent == tmp_path or fails.startswith("new")):
            raise PermissionError(13, "the file is open")
        replace(path, target)

    monkeypatch.setattr(Path, "replace", fail)
    with pytest.raises(RegistrationError, match="the file is open"):
        write_result(tmp_path, "warped.nii.gz", "new.nii.gz")
    assert {name: (tmp_path / name).read_bytes() for name in files_in(tmp_path)} == before


@pytest.mark.parametrize("record", ["[]", "{}", '{"files": 3}', "no JSON", '{"files": ["../notes.txt", "link", "."]}'])
def test_a_record_that_was_edited_removes_nothing_outside_the_folder(tmp_path, record) -> None:
    folder = tmp_path / "result"
    folder.mkdir()
    (tmp_path / "notes.txt").write_text("my own")
    (folder / "link").symlink_to(tmp_path / "notes.txt")
    (folder / "quality.json").write_text(record)
    write_result(folder, "warped.nii.gz")
    assert files_in(tmp_path) == ["notes.txt", "result/link", "result/quality.json", "result/warped.nii.gz"]


def test_what_says_that_a_result_is_whole_is_taken_away_first_and_comes_back_last(tmp_path, monkeypatch) -> None:
    """A process that is killed in between leaves no folder that seems complete."""
    names = ("a.txt", "warped.nii.gz")
    write_result(tmp_path, *names)
    moved, replace = [], Path.replace

    def noted(path: Path, target: Path) -> None:
        moved.append(path.name)
        replace(path, target)

    monkeypatch.setattr(Path, "replace", noted)
    write_result(tmp_path, *names)
    assert (moved[0], moved[-1]) == ("quality.json", "quality.json")


@pytest.mark.skipif(not hasattr(os, "fork"), reason="Windows starts no copy of a process")
@pytest.mark.parametrize("move", range(1, 9))
def test_nothing_of_an_earlier_result_stays_after_a_process_was_killed_while_it_moved_files(tmp_path, move) -> None:
    """Neither of the result before the one that was killed, nor of that one."""
    write_result(tmp_path, "warped.nii.gz", "warped_labels.nii.gz", "transform.h5")
    (tmp_path / "notes.txt").write_text("my own")
    child = os.fork()
    if child == 0:
        replace, moved = Path.replace, []

        def killed(path: Path, target: Path) -> None:
            moved.append(path)
            if len(moved) == move:
                os._exit(1)
            replace(path, target)

        Path.replace = killed
        try:
            write_result(tmp_path, "fixed_brain.nii.gz", "warped.nii.gz", "transform.h5")
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    write_result(tmp_path, "warped.nii.gz")
    assert files_in(tmp_path) == ["notes.txt", "quality.json", "warped.nii.gz"]
