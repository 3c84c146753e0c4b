"""Whether two scans have the same contrast is told from the intensities in the brain."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.geometry.canonical import template, template_mask
from ULAERegistrationLib.geometry.contrast import have_same_contrast, intensity_correlation


@pytest.fixture(scope="module")
def brain() -> np.ndarray:
    return sitk.GetArrayFromImage(template()).transpose(2, 1, 0).astype(np.float32) / 255


def test_a_brain_brighter_or_steeper_has_the_same_contrast(brain) -> None:
    assert have_same_contrast(brain, 0.5 * brain)
    assert have_same_contrast(brain, brain**1.5)


def test_a_coil_that_brightens_one_side_changes_nothing(brain) -> None:
    near_the_coil = np.exp(np.linspace(-1, 1, brain.shape[1], dtype=np.float32))[:, None]
    assert intensity_correlation(brain, brain * near_the_coil) > 0.8
    mask = sitk.GetArrayFromImage(template_mask()).transpose(2, 1, 0) > 0
    assert intensity_correlation(brain, (1 - brain) * mask * near_the_coil) < -0.5


def test_the_same_anatomy_inverted_has_another(brain) -> None:
    mask = sitk.GetArrayFromImage(template_mask()).transpose(2, 1, 0) > 0
    assert intensity_correlation(brain, (1 - brain) * mask) < -0.9
    assert not have_same_contrast(brain, (1 - brain) * mask)


def test_brains_that_do_not_overlap_are_never_called_alike(brain) -> None:
    assert intensity_correlation(brain, np.zeros_like(brain)) == 0
    assert intensity_correlation(np.ones_like(brain), brain) == 0
