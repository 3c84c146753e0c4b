"""A result that is wrong is never called good: a small part of `Testing/benchmarks/verdicts.py`."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
import SimpleITK as sitk

from ULAERegistrationLib.cli.main import main
from ULAERegistrationLib.geometry.canonical import template
from ULAERegistrationLib.quality import GOOD

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import verdict_cases
import verdicts

pytestmark = pytest.mark.slow


@pytest.fixture
def registered(coarse_model, upright, tmp_path, capsys):
    """Registers a scan to the template from the shell; gives what it prints, and the warped scan."""

    def run(moving: sitk.Image) -> tuple[dict, sitk.Image]:
        files = [str(tmp_path / name) for name in ("fixed.nrrd", "moving.nrrd", "warped.nrrd")]
        sitk.WriteImage(brain(), files[0])
        sitk.WriteImage(moving, files[1])
        options = ["--preset", "fast", "--model", str(coarse_model), "--precision", "float32", "--json"]
        assert main(["register", *files[:2], "--warped", files[2], *options]) == 0
        return json.loads(capsys.readouterr().out), sitk.ReadImage(files[2])

    return run


def brain() -> sitk.Image:
    return sitk.BinShrink(template(), [2, 2, 2])


def test_the_verdict_on_a_mirrored_brain_is_not_good_and_says_why(registered):
    quality, _ = registered(verdict_cases.mirrored(brain(), 0))
    assert quality["verdict"] != GOOD
    assert [one for one in quality["reasons"] if "The moving brain seems to be mirrored" in one], quality["reasons"]


@pytest.mark.usefixtures("upright")
def test_a_coarse_brain_is_told_from_its_mirror_image_and_from_the_same_without_its_bottom(data_folder):
    """At 5 mm, where every brain is more like the template: these two were called good."""
    whole = verdict_cases.brain("ds2748-01", 5)
    assert verdicts.doubts_alone(whole) == ()
    for wrong in (verdict_cases.mirrored(whole, 1), verdict_cases.without(whole, "bottom", 30)):
        assert "not like the template" in verdicts.doubts_alone(wrong)[0]


def test_scans_that_do_not_overlap_in_space_are_registered_like_any_other(registered):
    away = brain()
    away.SetOrigin([place + shift for place, shift in zip(away.GetOrigin(), (500, -300, 80), strict=True)])
    quality, warped = registered(away)
    assert quality["verdict"] == GOOD, quality["reasons"]
    difference = sitk.GetArrayFromImage(warped).astype(float) - sitk.GetArrayViewFromImage(brain())
    assert abs(difference).mean() < 0.5  # grey levels of 255
