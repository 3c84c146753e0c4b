"""`ulae` does what it says, and where it cannot, it says why in one line and writes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.cli.main import main


@pytest.fixture(scope="module")
def brains(data_folder):
    return data_folder / "brains"


@pytest.fixture
def refused(tmp_path, capsys, monkeypatch):
    """Run a command that must fail, and give its one line."""

    def run(*arguments: object) -> str:
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        assert main([str(a) for a in arguments]) == 1
        assert {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")} == before
        text = capsys.readouterr().err.strip()
        assert text.count("\n") == 0
        assert text.startswith("ulae: ")
        assert text.endswith(".")
        return text

    return run


def changed(image: sitk.Image, path, change) -> str:
    values = sitk.GetArrayFromImage(image).astype(np.float32)
    result = sitk.GetImageFromArray(change(values), isVector=False)
    if result.GetDimension() == 3 and result.GetSize() == image.GetSize():
        result.CopyInformation(image)
    sitk.WriteImage(result, str(path))
    return str(path)


def test_a_pair_is_registered_and_its_labels_come_along(brains, tmp_path, capsys):
    arguments = ["register", brains / "nirep-na16_t1.nii.gz", brains / "nirep-na04_t1.nii.gz", "--no-affine"]
    arguments += ["--preset", "fast", "--json", "--warped", tmp_path / "w.nii.gz", "--transform", tmp_path / "t.nii.gz"]
    arguments += ["--moving-labels", brains / "nirep-na04_seg.nii.gz", "--warped-labels", tmp_path / "l.nii.gz"]
    arguments += ["--fixed-labels", brains / "nirep-na16_seg.nii.gz"]
    assert main([str(a) for a in arguments]) == 0
    measures = json.loads(capsys.readouterr().out)
    assert measures["dice_after"] > measures["dice_before"] + 0.1
    by_label = measures["dice_after_by_label"]
    assert measures["dice_after"] == pytest.approx(sum(by_label.values()) / len(by_label))
    assert {path.name for path in tmp_path.iterdir()} == {"w.nii.gz", "t.nii.gz", "l.nii.gz"}

    applied = ["apply", tmp_path / "t.nii.gz", brains / "nirep-na04_seg.nii.gz", "--labels"]
    applied += ["--like", brains / "nirep-na16_t1.nii.gz", "-o", tmp_path / "again.nii.gz"]
    assert main([str(a) for a in applied]) == 0
    again, labels = (sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / n))) for n in ("again.nii.gz", "l.nii.gz"))
    assert (again == labels).mean() > 0.9999

    back = ["apply", tmp_path / "t.nii.gz", tmp_path / "w.nii.gz", "--inverse"]
    back += ["--like", brains / "nirep-na04_t1.nii.gz", "-o", tmp_path / "back.nii.gz"]
    assert main([str(a) for a in back]) == 0
    moving, returned = (
        sitk.GetArrayFromImage(sitk.ReadImage(str(p)))
        for p in (brains / "nirep-na04_t1.nii.gz", tmp_path / "back.nii.gz")
    )
    assert np.corrcoef(moving.ravel(), returned.ravel())[0, 1] > 0.97


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda a: a[80], "dimensions"),
        (lambda a: np.stack([a[:40, :40, :40]] * 3), "dimensions"),
        (lambda a: np.ones_like(a), "same value"),
        (lambda a: np.where(a > a.max() / 2, np.nan, a), "NaN or infinite"),
        (lambda a: np.where(a > a.max() / 2, np.inf, a), "NaN or infinite"),
        (lambda a: a[80:81], "every side"),
    ],
)
def test_a_volume_that_is_none_is_refused(brains, tmp_path, refused, change, words):
    image = sitk.ReadImage(str(brains / "nirep-na16_t1.nii.gz"))
    bad = changed(image, tmp_path / "bad.nrrd", change)  # NIfTI's own reader turns NaN into 0
    good = brains / "nirep-na04_t1.nii.gz"
    assert words in refused("register", bad, good, "-o", tmp_path / "out")
    assert words in refused("register", good, bad, "-o", tmp_path / "out")


def test_a_colour_image_is_refused(brains, tmp_path, refused):
    image = sitk.ReadImage(str(brains / "nirep-na16_t1.nii.gz"))
    colour = sitk.Compose(image, image, image)
    sitk.WriteImage(colour, str(tmp_path / "colour.nrrd"))
    assert "colour" in refused(
        "register", tmp_path / "colour.nrrd", brains / "nirep-na04_t1.nii.gz", "-o", tmp_path / "o"
    )


def test_a_spacing_that_lies_is_refused(data_folder, tmp_path, refused):
    image = sitk.ReadImage(str(data_folder / "raw" / "nirep" / "na16_t1.nii.gz"))
    image.SetSpacing((1.0, 1.0, 1.0))
    sitk.WriteImage(image, str(tmp_path / "lie.nii.gz"))
    text = refused(
        "register", tmp_path / "lie.nii.gz", data_folder / "brains" / "nirep-na04_t1.nii.gz", "-o", tmp_path / "o"
    )
    assert "litres" in text
    assert "spacing" in text


def test_masks_that_do_not_fit_are_refused(brains, tmp_path, refused):
    fixed, moving = brains / "nirep-na16_t1.nii.gz", brains / "nirep-na04_t1.nii.gz"
    image = sitk.ReadImage(str(fixed))
    empty = changed(image, tmp_path / "empty.nii.gz", np.zeros_like)
    small = changed(image, tmp_path / "small.nii.gz", lambda a: a[10:-10])
    assert "empty" in refused("register", fixed, moving, "-o", tmp_path / "o", "--fixed-mask", empty)
    assert "another grid" in refused("register", fixed, moving, "-o", tmp_path / "o", "--moving-mask", small)


def test_what_is_missing_is_named(brains, tmp_path, refused):
    fixed, moving = brains / "nirep-na16_t1.nii.gz", brains / "nirep-na04_t1.nii.gz"
    assert "none.nii.gz does not exist" in refused("register", tmp_path / "none.nii.gz", moving, "-o", tmp_path / "o")
    assert "does not exist" in refused(
        "register", fixed, moving, "-o", tmp_path / "o", "--model", tmp_path / "none.safetensors"
    )
    assert "where to write" in refused("register", fixed, moving)
    assert "--moving-labels" in refused("register", fixed, moving, "--warped-labels", tmp_path / "l.nii.gz")
    assert "does not exist" in refused(
        "apply", tmp_path / "none.h5", moving, "--like", fixed, "-o", tmp_path / "x.nii.gz"
    )
    assert "--pack" in refused("train", tmp_path / "none.npz", "-o", tmp_path / "run")


def test_a_folder_that_cannot_be_written_is_refused_before_anything_is_read(tmp_path, refused):
    file = tmp_path / "file"
    file.write_text("not a folder")
    assert "cannot be written" in refused("register", "a", "b", "-o", file / "out").replace(
        "Nothing can be", "cannot be"
    )
    assert "end its name" in refused("register", "a", "b", "--warped", tmp_path / "w.jpg")
    assert "end its name" in refused("register", "a", "b", "--transform", tmp_path / "t.mat")


def test_wrong_usage_ends_with_status_2(capsys):
    with pytest.raises(SystemExit) as caught:
        main(["register", "one"])
    assert caught.value.code == 2
    assert "usage" in capsys.readouterr().err


def test_info_names_the_weights_and_their_licence(capsys):
    assert main(["info", "--json"]) == 0
    facts = json.loads(capsys.readouterr().out)
    assert facts["parameters"] == 789_561
    assert facts["licence"].startswith("CC BY-NC 4.0")
    assert "cpu" in facts["devices"]


def test_benchmark_times_every_stage_of_a_preset(capsys):
    assert main(["benchmark", "--presets", "fast", "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["fast"]
    stages = ("alignment", "network", "field", "quality")
    assert set(figures) == {*stages, "all", "mean error, mm"}
    assert min(figures[stage] for stage in stages) > 0
    assert figures["all"] == pytest.approx(sum(figures[stage] for stage in stages), abs=0.01)
    assert figures["mean error, mm"] < 3


def test_the_module_is_the_same_program():
    command = [sys.executable, "-m", "ULAERegistrationLib", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    assert result.stdout.startswith("ulae 0.")
