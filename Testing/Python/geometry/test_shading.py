"""A scan that a coil has shaded strongly is evened out; others stay as they are."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib import register
from ULAERegistrationLib.geometry.canonical import sample_on_canonical, template
from ULAERegistrationLib.geometry.shading import shading, without_strong_shading

TRANSFORM = sitk.AffineTransform(3)


@pytest.fixture(scope="module")
def brain() -> sitk.Image:
    return sitk.BinShrink(template(), [2, 2, 2])


def shaded(image: sitk.Image, factor: float) -> sitk.Image:
    """Darker towards the back, by a factor over 160 mm."""
    place = np.arange(image.GetSize()[1]) * image.GetSpacing()[1]
    values = sitk.GetArrayFromImage(image) * factor ** (-place / 160)[None, :, None]
    result = sitk.GetImageFromArray(values.astype(np.float32))
    result.CopyInformation(image)
    return result


def unevenness(scan: sitk.Image, brain: sitk.Image) -> float:
    """How much brighter than the original one end of the brain is than the other."""
    true = sitk.GetArrayFromImage(brain).astype(float)
    low, high = np.percentile(sitk.GetArrayFromImage(scan)[true > 60] / true[true > 60], (1, 99))
    return high / low


def test_strong_shading_is_taken_from_a_scan(brain):
    scan = shaded(brain, 3.0)
    assert unevenness(scan, brain) > 2.3
    even = without_strong_shading(scan, sample_on_canonical(scan, TRANSFORM), TRANSFORM)
    assert unevenness(even, brain) < 1.25
    assert even.GetSize() == scan.GetSize()


@pytest.mark.parametrize("nothing", [300.0, -1024.0])
def test_shading_is_taken_from_what_lies_above_the_intensity_that_counts_as_nothing(brain, nothing):
    scan = shaded(brain, 3.0) + nothing
    mask = brain > 0
    even = without_strong_shading(scan, sample_on_canonical(scan, TRANSFORM, mask), TRANSFORM, mask)
    assert unevenness(even, brain) < 1.25


def test_brains_of_z_scores_are_evened_out_too(brain):
    """Their background is 0 and lies within the range of the tissue."""
    mask = brain > 0
    shown = sitk.Mask((shaded(brain, 3.0) - 60.0) / 30.0, mask)
    even = without_strong_shading(shown, sample_on_canonical(shown, TRANSFORM, mask), TRANSFORM, mask)
    assert unevenness(even, brain) < 1.3


@pytest.mark.parametrize("factor", [1.0, 1.4])
def test_a_scan_with_little_shading_stays_as_it_is(brain, factor):
    scan = shaded(brain, factor)
    assert without_strong_shading(scan, sample_on_canonical(scan, TRANSFORM), TRANSFORM) is scan


def test_a_scan_that_is_bright_where_t1_is_dark_stays_as_it_is(brain):
    values = sitk.GetArrayFromImage(shaded(brain, 3.0))
    inverted = sitk.GetImageFromArray(np.where(values > 0, 260 - values, 0))
    inverted.CopyInformation(brain)
    assert without_strong_shading(inverted, sample_on_canonical(inverted, TRANSFORM), TRANSFORM) is inverted


def test_the_estimate_of_extreme_shading_is_positive(brain):
    """A surface coil: the brightness falls to a hundredth from front to back."""
    scan = shaded(brain, 200.0)
    assert shading(sample_on_canonical(scan, TRANSFORM)).min() > 0
    even = without_strong_shading(scan, sample_on_canonical(scan, TRANSFORM), TRANSFORM)
    assert sitk.GetArrayViewFromImage(even).min() >= 0


def test_an_empty_scan_stays_as_it_is(brain):
    assert without_strong_shading(brain, np.zeros((160, 192, 160), np.float32), TRANSFORM) is brain


@pytest.mark.slow
@pytest.mark.usefixtures("upright")
def test_the_network_sees_a_shaded_scan_evenly_lit_and_the_user_gets_the_scan_that_was_given(brain, quick_settings):
    found = register(brain, shaded(brain, 3.0), contrast="same", **quick_settings)
    inside = found.brain & (found.moving_canonical > 0.2)
    low, high = np.percentile(found.moving_canonical[inside] / found.fixed_canonical[inside], (5, 95))
    assert high / low < 1.3
    assert unevenness(found.warped, brain) > 2
