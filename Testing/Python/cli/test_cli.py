"""`ulae` does what it says, and where it cannot, it says why in one line and writes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from itertools import product

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.cli.benchmark import table
from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.geometry.canonical import template, template_mask
from ULAERegistrationLib.shipped import MODELS
from ULAERegistrationLib.simulation import SimulatedPair

TEMPLATE = MODELS / "template.nii.gz"  # a scan that nothing is wrong with


@pytest.fixture
def refused(tmp_path, capsys, monkeypatch):
    """Run a command that must fail, and give its one line."""

    def run(*arguments: object, status: int = 1) -> str:
        before = {path: path.stat().st_mtime_ns for path in tmp_path.rglob("*")}
        assert main([str(a) for a in arguments]) == status
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
def test_a_volume_that_is_none_is_refused(tmp_path, refused, change, words):
    image = template()
    bad = changed(image, tmp_path / "bad.nrrd", change)  # NIfTI's own reader turns NaN into 0
    good = TEMPLATE
    assert words in refused("register", bad, good, "-o", tmp_path / "out")
    assert words in refused("register", good, bad, "-o", tmp_path / "out")


def test_masks_of_brains_that_are_not_looked_for_are_not_saved(tmp_path, capsys):
    """The whole head was written as the brain."""
    masks = tmp_path / "masks"
    assert main(["register", str(TEMPLATE), str(TEMPLATE), "--brain", "skip", "--save-masks", str(masks)]) == 2
    assert "no brain is found that --save-masks could write" in capsys.readouterr().err
    assert not masks.exists()


def test_a_colour_image_is_refused(tmp_path, refused):
    colour = sitk.Compose(template(), template(), template())
    sitk.WriteImage(colour, str(tmp_path / "colour.nrrd"))
    assert "colour" in refused("register", tmp_path / "colour.nrrd", TEMPLATE, "-o", tmp_path / "o")


def test_a_spacing_that_lies_is_refused(tmp_path, refused):
    image = sitk.Image(template())
    image.SetSpacing((1.5, 1.5, 1.5))
    sitk.WriteImage(image, str(tmp_path / "lie.nii.gz"))
    text = refused("register", tmp_path / "lie.nii.gz", TEMPLATE, "-o", tmp_path / "o")
    assert "litres" in text
    assert "spacing" in text


def test_masks_that_do_not_fit_are_refused(tmp_path, refused):
    fixed, moving = TEMPLATE, TEMPLATE
    image = template()
    empty = changed(image, tmp_path / "empty.nii.gz", np.zeros_like)
    small = changed(image, tmp_path / "small.nii.gz", lambda a: a[10:-10])
    assert "empty" in refused("register", fixed, moving, "-o", tmp_path / "o", "--fixed-mask", empty)
    assert "another grid" in refused("register", fixed, moving, "-o", tmp_path / "o", "--moving-mask", small)


def test_what_is_missing_is_named(tmp_path, refused):
    fixed, moving = TEMPLATE, TEMPLATE
    assert "none.nii.gz does not exist" in refused("register", tmp_path / "none.nii.gz", moving, "-o", tmp_path / "o")
    assert "does not exist" in refused(
        "register", fixed, moving, "-o", tmp_path / "o", "--model", tmp_path / "none.safetensors"
    )
    assert "does not exist" in refused(
        "apply", tmp_path / "none.h5", moving, "--like", fixed, "-o", tmp_path / "x.nii.gz"
    )
    assert "--pack" in refused("train", tmp_path / "none.npz", "-o", tmp_path / "run")


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


def test_without_a_standard_output_a_command_does_what_it_was_asked_for(tmp_path):
    sitk.WriteTransform(sitk.TranslationTransform(3, (1.0, 2.0, 3.0)), str(tmp_path / "t.tfm"))
    command = [sys.executable, "-m", "ULAERegistrationLib", "convert", "t.tfm", "t.h5", "--json"]
    closed = f"exec {' '.join(command)} >&-"
    ended = subprocess.run(["sh", "-c", closed], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (tmp_path / "t.h5").is_file()


def test_an_output_folder_that_is_a_link_to_nowhere_is_refused_beforehand(tmp_path, capsys):
    (tmp_path / "link").symlink_to(tmp_path / "nowhere" / "deep")
    assert main(["register", str(TEMPLATE), str(TEMPLATE), "-o", str(tmp_path / "link")]) == 1
    assert "Nothing can be written to" in capsys.readouterr().err


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_pipe_is_said_to_be_one(tmp_path, refused):
    os.mkfifo(tmp_path / "scan.nii.gz")
    said = refused("register", tmp_path / "scan.nii.gz", TEMPLATE, "-o", tmp_path / "out")
    assert "is a pipe; write its content to a file" in said


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


def test_a_label_map_warped_as_an_image_is_said(tmp_path, capsys):
    sitk.WriteTransform(sitk.TranslationTransform(3, (0.5, 0.0, 0.0)), str(tmp_path / "t.tfm"))
    labels = sitk.Cast(template() > 0, sitk.sitkUInt16) * 17
    sitk.WriteImage(labels, str(tmp_path / "seg.nii.gz"))
    command = ["apply", tmp_path / "t.tfm", tmp_path / "seg.nii.gz", "--like", TEMPLATE, "-o", tmp_path / "o.nii.gz"]
    for options, said in (([], True), (["--labels"], False), (["--interpolation", "nearest"], False)):
        assert main([str(a) for a in [*command, *options]]) == 0
        assert ("give --labels to keep its values" in capsys.readouterr().err) == said
    command[2] = TEMPLATE
    assert main([str(a) for a in command]) == 0
    assert capsys.readouterr().err == ""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="there is none")
def test_an_output_on_a_full_disk_is_a_sentence():
    with open("/dev/full", "w") as full:
        command = [sys.executable, "-m", "ULAERegistrationLib", "info"]
        ended = subprocess.run(command, stdout=full, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr.count("\n")) == (1, 1)
    assert "No space is left" in ended.stderr


def test_a_name_that_the_console_lacks_letters_for_ends_no_command():
    """A Windows console, or a cluster's job without a locale."""
    program = "from ULAERegistrationLib import __main__ as ulae; from ULAERegistrationLib.cli import main; "
    program += "main.main = lambda: print('\\u8111'); ulae.run()"
    command, environment = [sys.executable, "-c", program], {**os.environ, "PYTHONIOENCODING": "latin-1"}
    assert subprocess.run(command, stdout=subprocess.PIPE, env=environment, check=True).stdout.strip() == rb"\u8111"


def test_a_device_or_weights_that_are_not_there_are_refused_before_anything_is_computed(tmp_path, monkeypatch):
    from ULAERegistrationLib import registration
    from ULAERegistrationLib.network import brain_extraction

    def computed(*_: object) -> None:
        raise AssertionError("a brain was looked for")

    monkeypatch.setattr(registration, "find_both_brains", computed)
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    with pytest.raises(RegistrationError, match="no cuda device was found"):
        registration.register(TEMPLATE, TEMPLATE, device="cuda")
    monkeypatch.setattr(brain_extraction, "BRAIN_WEIGHTS", tmp_path / "none.safetensors")
    with pytest.raises(RegistrationError, match=r"none.safetensors does not exist"):
        registration.register(TEMPLATE, TEMPLATE)


def test_points_are_carried_as_images_are_and_said_in_json(tmp_path, capsys):
    shift = sitk.TranslationTransform(3, (1.0, 2.0, 3.0))  # a point of the fixed image lies there in the moving one
    sitk.WriteTransform(shift, str(tmp_path / "t.h5"))
    (tmp_path / "p.csv").write_text("x,y,z,label\n11,12,13,ac\n")
    command = ["apply", tmp_path / "t.h5", "--points", tmp_path / "p.csv", "-o", tmp_path / "q.csv", "--json"]
    assert main([str(a) for a in command]) == 0
    assert json.loads(capsys.readouterr().out)["lps"] == [[10, 10, 10]]
    assert (tmp_path / "q.csv").read_text() == "x,y,z,label\n10.000000,10.000000,10.000000,ac\n"
    assert main([str(a) for a in [*command, "--inverse"]]) == 0
    assert json.loads(capsys.readouterr().out)["lps"] == [[12, 14, 16]]


def test_an_image_is_sampled_as_asked(tmp_path, capsys):
    sitk.WriteTransform(sitk.TranslationTransform(3, (0.5, 0.0, 0.0)), str(tmp_path / "t.h5"))
    image = sitk.GaussianSource(size=[20, 20, 20], sigma=[3] * 3, mean=[10] * 3)
    sitk.WriteImage(image, str(tmp_path / "i.nii.gz"))
    apply = ["apply", tmp_path / "t.h5", tmp_path / "i.nii.gz", "--like", tmp_path / "i.nii.gz", "--json"]
    found = {}
    for how in ("linear", "cubic", "nearest"):
        output = tmp_path / f"{how}.nrrd"
        assert main([str(a) for a in [*apply, "--interpolation", how, "-o", output]]) == 0
        assert json.loads(capsys.readouterr().out)["interpolation"] == how
        found[how] = sitk.GetArrayFromImage(sitk.ReadImage(str(output)))[10, 10, 5]
    moving = sitk.GetArrayFromImage(image)[10, 10]
    assert found["nearest"] in moving
    assert found["linear"] == pytest.approx((moving[5] + moving[6]) / 2, rel=1e-5)
    assert found["cubic"] == pytest.approx(255 * np.exp(-(4.5**2) / 18), rel=1e-3)
    assert main([str(a) for a in [*apply, "--inverse", "-o", tmp_path / "back.nrrd"]]) == 0
    back = sitk.GetArrayFromImage(sitk.ReadImage(str(tmp_path / "back.nrrd")))[10, 10, 5]
    assert back == pytest.approx((moving[4] + moving[5]) / 2, rel=1e-5)


def test_too_little_memory_is_said_in_a_sentence(tmp_path, refused, monkeypatch):
    def exhausted(*_, **__):
        raise MemoryError

    monkeypatch.setattr("ULAERegistrationLib.registration.register", exhausted)
    text = refused("register", TEMPLATE, TEMPLATE, "--quiet", "--warped", tmp_path / "w.nii.gz")
    assert "not enough memory" in text


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


@pytest.mark.slow
@pytest.mark.usefixtures("upright")
def test_benchmark_times_every_stage_of_a_preset_from_reading_to_writing(capsys, monkeypatch, coarse_model):
    def simulate() -> SimulatedPair:
        """A pair that is quick to make and to register: the template on coarse voxels, and the same shifted."""
        brain, mask = (sitk.BinShrink(image, [2, 2, 2]) for image in (template(), template_mask()))
        shifted = sitk.Image(brain)
        shifted.SetOrigin(np.add(brain.GetOrigin(), (3, -5, 8)).tolist())
        return SimulatedPair(brain, shifted, sitk.TranslationTransform(3, (3.0, -5.0, 8.0)), mask > 0)

    monkeypatch.setattr("ULAERegistrationLib.simulation.simulate", simulate)
    assert main(["benchmark", "--presets", "fast", "--model", str(coarse_model), "--json"]) == 0
    figures = json.loads(capsys.readouterr().out)["fast"]
    stages = ("brain extraction", "alignment", "network", "field", "quality")
    others = {"all", "peak memory, GB", "on disk, MB", "mean error, mm"}
    assert set(figures) == {"reading and checking", *stages, "writing everything", *others}
    assert 0.2 < figures["peak memory, GB"] < 10
    assert figures["on disk, MB"] > 100  # the transform has the same size for every scan
    assert min(figures[stage] for stage in (*stages[1:], "writing everything")) > 0
    assert figures["mean error, mm"] < 0.5


def test_the_benchmark_tells_each_stage_as_a_multiple_of_the_network():
    lines = table({"network": 2.0, "field": 1.0, "all": 3.0, "peak memory, GB": 1.5}).splitlines()
    assert lines[1].split() == ["network", "2.00", "1.0", "#" * 40]
    assert lines[2].split() == ["field", "1.00", "0.5", "#" * 20]
    assert lines[3].split() == ["all", "3.00", "1.5"]
    assert lines[4].split() == ["peak", "memory,", "GB", "1.50"]


def test_a_benchmark_of_one_scan_is_wrong_usage(capsys):
    assert main(["benchmark", "scan.nii.gz"]) == 2
    assert "two scans" in capsys.readouterr().err


def test_the_module_is_the_same_program():
    command = [sys.executable, "-m", "ULAERegistrationLib", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    assert result.stdout.startswith("ulae 0.")
