"""Scans of two people in different contrasts: a small part of `Testing/benchmarks/contrasts.py`, on real scans."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import SimpleITK as sitk

from ULAERegistrationLib import register
from ULAERegistrationLib.geometry.resampling import resample

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import contrasts

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("upright")]


def test_tissue_lies_better_than_after_the_alignment_and_the_verdict_is_not_good(data_folder):
    """Tissue is known from the T1 of both people, which lie in the frame of their other scans."""
    folder = data_folder / "heads" / "cross"
    fixed, moving = folder / "ms07_t1.nii.gz", folder / "ms26_flair.nii.gz"
    theirs, carried = (
        contrasts.tissues(sitk.ReadImage(str(folder / f"{person}_t1.nii.gz"))) for person in ("ms07", "ms26")
    )
    found = register(fixed, moving, preset="fast")
    aligned = resample(carried, theirs, found.alignment.fixed_to_moving, labels=True)
    before, after = (contrasts.scores(labels, theirs) for labels in (aligned, found.warp_labels(carried)))
    for tissue in (contrasts.GREY, contrasts.WHITE):
        assert after[tissue] > before[tissue] + 0.1
    assert found.settings.contrast == "different"
    assert found.quality.verdict != "good"


def test_a_flair_of_low_contrast_that_is_taken_for_t1_is_not_called_good(data_folder, coarse_model):
    """Fluid is dark and all tissue bright in it, so that its blocks correlate with those of a T1."""
    fixed, moving = (data_folder / "heads" / "nichart" / name for name in ("subj08_t1.nii.gz", "subj09_flair.nii.gz"))
    found = register(fixed, moving, preset="fast", model=str(coarse_model))
    assert found.settings.contrast == "same"
    assert found.quality.verdict == "look at it"
    assert any("The moving image shows grey and white matter less apart" in reason for reason in found.quality.reasons)
