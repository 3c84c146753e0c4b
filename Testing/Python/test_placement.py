"""What the network is shown of two scans: the intensities of T1, whatever the scans are."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.geometry.canonical import template, template_mask
from ULAERegistrationLib.placement import Placement, place
from ULAERegistrationLib.progress import silent
from ULAERegistrationLib.settings import RegistrationSettings


@pytest.fixture(scope="module")
def t2() -> sitk.Image:
    """The template with bright fluid and dark white matter."""
    values = sitk.GetArrayFromImage(template())
    image = sitk.GetImageFromArray(np.where(values > 12, 268 - values.astype(int), 0).clip(0, 255).astype(np.uint8))
    image.CopyInformation(template())
    return image


@pytest.fixture(scope="module")
def flair() -> sitk.Image:
    """The template with dark fluid and grey matter a little brighter than white matter."""
    values = np.interp(sitk.GetArrayFromImage(template()), (0, 12, 50, 120, 255), (0, 12, 40, 220, 170))
    image = sitk.GetImageFromArray(values.astype(np.uint8))
    image.CopyInformation(template())
    return image


def placed(fixed: sitk.Image, moving: sitk.Image) -> Placement:
    """Where they lie: both on the canonical grid."""
    settings = RegistrationSettings(alignment="none")
    return place((fixed, moving), (template_mask(), template_mask()), settings, None, silent)


def likeness_to_t1(image: np.ndarray) -> float:
    average = sitk.GetArrayViewFromImage(template()).transpose(2, 1, 0)
    inside = (image > 0.05) & (average > 12)
    return float(np.corrcoef(image[inside], average[inside])[0, 1])


def test_two_t1_scans_are_shown_as_they_are():
    found = placed(template(), template())
    assert found.contrast == "same"
    assert np.array_equal(found.fixed_seen, found.fixed)
    assert np.array_equal(found.moving_seen, found.moving)


def test_two_t2_scans_are_of_one_contrast_and_shown_with_the_intensities_of_t1(t2):
    found = placed(t2, t2)
    assert found.contrast == "same"
    for scan, seen in ((found.fixed, found.fixed_seen), (found.moving, found.moving_seen)):
        assert likeness_to_t1(scan) < -0.8
        assert likeness_to_t1(seen) > 0.8


def test_two_flair_scans_are_of_one_contrast_and_shown_with_the_intensities_of_t1(flair):
    found = placed(flair, flair)
    assert found.contrast == "same"
    for scan, seen in ((found.fixed, found.fixed_seen), (found.moving, found.moving_seen)):
        assert likeness_to_t1(scan) < 0.7
        assert likeness_to_t1(seen) > 0.9


def test_scans_of_two_contrasts_are_shown_with_the_intensities_of_t1(t2):
    for pair in ((template(), t2), (t2, template())):
        found = placed(*pair)
        assert found.contrast == "different"
        assert likeness_to_t1(found.fixed_seen) > 0.8
        assert likeness_to_t1(found.moving_seen) > 0.8
