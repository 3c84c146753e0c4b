"""Options that do not go together, and places that would lose something, are refused before anything is read."""

from __future__ import annotations

from itertools import product

import pytest
import SimpleITK as sitk

from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.geometry.canonical import template
from ULAERegistrationLib.shipped import MODELS

TEMPLATE = MODELS / "template.nii.gz"  # a scan that nothing is wrong with


def test_masks_of_brains_that_are_not_looked_for_are_not_saved(tmp_path, capsys):
    """The whole head was written as the brain."""
    masks = tmp_path / "masks"
    assert main(["register", str(TEMPLATE), str(TEMPLATE), "--brain", "skip", "--save-masks", str(masks)]) == 2
    assert "no brain is found that --save-masks could write" in capsys.readouterr().err
    assert not masks.exists()


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path, refused):
    file = tmp_path / "file"
    file.write_text("not a folder")
    text = refused("register", "a", "b", "-o", file / "out")
    assert text.startswith("ulae: Nothing can be written to")
    assert "it is not a folder" in text
    assert "end its name" in refused("register", "a", "b", "--warped", tmp_path / "w.jpg")
    assert "end its name" in refused("register", "a", "b", "--transform", tmp_path / "t.mat")


def test_where_a_training_cannot_write_is_refused_before_anything_is_read(tmp_path, refused):
    file = tmp_path / "file"
    file.write_text("not a folder")
    sitk.WriteImage(template(), str(tmp_path / "ann_t1.nii.gz"))
    for words in (("train", file), ("train", "--prepare", tmp_path)):
        assert "it is not a folder" in refused(*words, "-o", file)
    assert "end its name with .npz" in refused("train", "--pack", tmp_path, "-o", file)


def test_options_that_do_not_go_together_end_with_status_2(tmp_path, refused):
    fixed, moving = TEMPLATE, TEMPLATE
    assert "where to write" in refused("register", fixed, moving, status=2)
    label_options = ("--warped-labels", tmp_path / "l.nii.gz")
    assert "--moving-labels" in refused("register", fixed, moving, *label_options, status=2)
    for refinement in (("--iterations", 50), ("--smoothness", 3)):
        options = ("-o", tmp_path / "o", "--preset", "fast", *refinement)
        assert "does not refine" in refused("register", fixed, moving, *options, status=2)
    for option in ("--smoothness", "--iterations"):
        assert "-1" in refused("register", fixed, moving, "-o", tmp_path / "o", option, "-1", status=2)
    assert "--points FILE" in refused("apply", "t.h5", moving, "-o", tmp_path / "o.nii.gz", status=2)
    assert "leave out" in refused("apply", "t.h5", moving, "--points", "p", "-o", tmp_path / "o.csv", status=2)
    cubic_labels = ("--like", fixed, "-o", tmp_path / "o.nii.gz", "--labels", "--interpolation", "cubic")
    assert "nearest or linear" in refused("apply", "t.h5", moving, *cubic_labels, status=2)
    for instead, (option, value) in product(
        ("--prepare", "--pack"), (("--settings", "s.json"), ("--start-from", "w.safetensors"), ("--minutes", 3))
    ):
        text = refused("train", instead, tmp_path, "-o", tmp_path / "o.npz", option, value, status=2)
        assert text.endswith(f"leave out {option}.")


def test_no_output_overwrites_an_input_or_another_output(tmp_path, refused):
    scan = tmp_path / "warped.nii.gz"
    sitk.WriteImage(template(), str(scan))
    (tmp_path / "link").symlink_to(tmp_path)
    same = tmp_path / "link" / "warped.nii.gz"
    sitk.WriteTransform(sitk.TranslationTransform(3), str(tmp_path / "t.tfm"))
    fixed_brain = tmp_path / "fixed_brain.nii.gz"
    fixed_brain.hardlink_to(scan)
    linked = tmp_path / "linked.nii.gz"
    linked.symlink_to(scan)
    for command in (
        ("brain", scan, "-o", same),
        ("apply", tmp_path / "t.tfm", TEMPLATE, "--like", scan, "-o", same),
        ("apply", tmp_path / "t.tfm", linked, "--like", TEMPLATE, "-o", scan),
        ("apply", tmp_path / "t.tfm", linked, "--like", TEMPLATE, "-o", linked),
        ("convert", scan, same),
        ("register", scan, TEMPLATE, "--warped", same),
        ("register", TEMPLATE, scan, "-o", tmp_path / "link"),
        ("register", fixed_brain, TEMPLATE, "--save-masks", tmp_path),
    ):
        assert "is read and would be overwritten" in refused(*command, status=2)
    labels, result, masks = ("--moving-labels", TEMPLATE), tmp_path / "result", tmp_path / "masks"
    for twice in (
        ("--transform", tmp_path / "a.nii.gz", "--warped", tmp_path / "link" / "a.nii.gz"),
        ("-o", result, *labels, "--warped-labels", result / "warped.nii.gz"),
        ("--save-masks", masks, "--warped", masks / "moving_brain.nii.gz"),
    ):
        assert "Two results would be written" in refused("register", TEMPLATE, scan, *twice, status=2)


def test_a_value_that_a_variable_of_the_shell_has_left_empty_is_refused_and_not_passed_over(tmp_path, refused):
    for option in ("--warped", "--moving-labels", "--model", "--fixed-mask"):
        said = refused("register", TEMPLATE, TEMPLATE, "-o", tmp_path / "out", option, "", status=2)
        assert f"The value of {option[2:]} is empty" in said
    assert "The value of fixed is empty" in refused("register", "", TEMPLATE, "-o", tmp_path / "out", status=2)


def test_an_output_folder_that_is_a_link_to_nowhere_is_refused_beforehand(tmp_path, capsys):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "deep")
    assert main(["register", str(TEMPLATE), str(TEMPLATE), "-o", str(tmp_path / "link")]) == 1
    assert "Nothing can be written to" in capsys.readouterr().err


def test_an_empty_output_is_not_taken_for_the_current_folder(tmp_path, monkeypatch, refused):
    """As where a variable of the shell is not set."""
    scan = tmp_path / "scan.nii.gz"
    scan.touch()
    monkeypatch.chdir(tmp_path)
    for command in (("batch", "--to-template", scan), ("demo",), ("evaluate", tmp_path), ("brain", scan)):
        assert "The value of output is empty" in refused(*command, "-o", "", status=2)


def test_the_scan_of_an_earlier_result_is_not_replaced_by_the_next(tmp_path, refused):
    (tmp_path / "steps").mkdir()
    step = tmp_path / "steps" / "warped1.nii.gz"
    sitk.WriteImage(template(), str(step))
    (tmp_path / "quality.json").write_text('{"files": ["steps/warped1.nii.gz", "quality.json"]}')
    assert "would be overwritten" in refused("register", TEMPLATE, step, "-o", tmp_path, status=2)


def test_wrong_usage_ends_with_status_2(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["register", "one"])
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_a_benchmark_of_one_scan_is_wrong_usage(capsys):
    assert main(["benchmark", "scan.nii.gz"]) == 2
    assert "two scans" in capsys.readouterr().err
