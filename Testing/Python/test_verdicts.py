"""A result that is wrong is never called good: a small part of `Testing/benchmarks/verdicts.py`."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import SimpleITK as sitk

from ULAERegistrationLib import register
from ULAERegistrationLib.geometry import alignment
from ULAERegistrationLib.geometry.canonical import template
from ULAERegistrationLib.quality import GOOD

sys.path.insert(0, str(Path(__file__).parents[1] / "benchmarks"))

import verdict_cases

pytestmark = pytest.mark.slow


def test_the_verdict_on_a_mirrored_brain_is_not_good_and_says_why(coarse_model, monkeypatch):
    monkeypatch.setattr(alignment, "TILTS", (0.0,))  # one start of the search: nothing is tilted
    brain = sitk.BinShrink(template(), [2, 2, 2])
    settings = {"preset": "fast", "model": coarse_model, "precision": "float32", "field_spacing": 4.0}
    quality = register(brain, verdict_cases.mirrored(brain, 0), **settings).quality
    assert quality.verdict != GOOD
    assert [one for one in quality.reasons if "The moving brain seems to be mirrored" in one], quality.reasons
