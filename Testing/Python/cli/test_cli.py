"""`ulae` does what it says, and where it cannot, it says why in one line and writes nothing."""

from __future__ import annotations

import json
import os
import subprocess
import sys

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


def test_without_a_standard_output_a_command_does_what_it_was_asked_for(tmp_path):
    sitk.WriteTransform(sitk.TranslationTransform(3, (1.0, 2.0, 3.0)), str(tmp_path / "t.tfm"))
    command = [sys.executable, "-m", "ULAERegistrationLib", "convert", "t.tfm", "t.h5", "--json"]
    closed = f"exec {' '.join(command)} >&-"
    ended = subprocess.run(["sh", "-c", closed], cwd=tmp_path, stderr=subprocess.PIPE, text=True)
    assert (ended.returncode, ended.stderr) == (0, "")
    assert (tmp_path / "t.h5").is_file()


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="there are no pipes with names")
def test_a_pipe_is_said_to_be_one(tmp_path, refused):
    os.mkfifo(tmp_path / "scan.nii.gz")
    said = refused("register", tmp_path / "scan.nii.gz", TEMPLATE, "-o", tmp_path / "out")
    assert "is a pipe; write its content to a file" in said


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


def test_the_module_is_the_same_program():
    command = [sys.executable, "-m", "ULAERegistrationLib", "--version"]
    result = subprocess.run(command, capture_output=True, text=True, check=True, env=os.environ)
    assert result.stdout.startswith("ulae 0.")
