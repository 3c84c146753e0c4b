"""The brains of two scans are found, and shown alike in both."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib import scan_brain
from ULAERegistrationLib.geometry.canonical import template, template_mask
from ULAERegistrationLib.scan_brain import RIM_MM, ScanBrain, _grown, brain_likeness, find_both_brains
from ULAERegistrationLib.settings import RegistrationSettings
from ULAERegistrationLib.simulation import paint_head


def share_within(mask: sitk.Image, other: sitk.Image) -> float:
    inside, there = (sitk.GetArrayViewFromImage(image) > 0 for image in (mask, other))
    return float((inside & there).sum() / inside.sum())


@pytest.fixture
def extracted_once(monkeypatch) -> None:
    """Every brain is extracted once, however often it is asked for."""
    extract, found = scan_brain.extract_brain, {}

    def once(image: sitk.Image) -> sitk.Image:
        if id(image) not in found:
            found[id(image)] = extract(image)
        return found[id(image)]

    monkeypatch.setattr(scan_brain, "extract_brain", once)


@pytest.mark.usefixtures("extracted_once")
def test_a_rim_is_shown_around_two_brains_that_were_both_found_and_around_no_other(simulated_pair):
    pair = simulated_pair
    head, settings = paint_head(pair), RegistrationSettings()
    both = find_both_brains((head, head), (None, None), settings)
    for one in both:
        assert share_within(one.foreground, one.shown) == 1
        assert share_within(one.shown, one.foreground) < 0.95
        assert one.mask is one.foreground  # what is saved and looked at stays as it was found
    mask = both[0].mask
    for scans, masks in (
        ((head, pair.template), (None, None)),
        ((pair.subject, head), (None, None)),
        ((head, head), (None, mask)),
    ):
        for one in find_both_brains(scans, masks, settings):
            assert one.shown is one.foreground


@pytest.mark.parametrize("spacing", [(1.0, 1.0, 1.0), (0.8, 1.3, 2.5)])
def test_a_rim_is_as_wide_in_millimetres_along_every_axis(spacing):
    size = [round(60 / step) for step in spacing]
    places = np.meshgrid(*[(np.arange(n) - (n - 1) / 2) * s for n, s in zip(size, spacing, strict=True)], indexing="ij")
    distance = np.linalg.norm(places, axis=0).transpose(2, 1, 0)
    ball = sitk.GetImageFromArray((distance <= 20).astype(np.uint8))
    ball.SetSpacing(spacing)
    ball.SetDirection((0, -1, 0, 1, 0, 0, 0, 0, -1))
    grown = _grown(ball)
    assert grown.GetDirection() == ball.GetDirection()
    shown = sitk.GetArrayViewFromImage(grown) > 0
    assert shown[distance <= 20 + RIM_MM - max(spacing)].all()
    assert not shown[distance > 20 + RIM_MM].any()


def test_a_head_that_is_taken_as_it_is_is_doubted_whatever_its_partner(simulated_pair):
    head = paint_head(simulated_pair)
    fixed, moving = find_both_brains((simulated_pair.template, head), (None, None), RegistrationSettings(brain="skip"))
    assert fixed.doubts == ()
    (doubt,) = moving.doubts
    assert "moving image seems to show more than the brain" in doubt


def test_the_likeness_of_a_brain_is_that_of_its_scans_voxels_without_what_the_rim_shows() -> None:
    values = sitk.GetArrayFromImage(template()).transpose(2, 1, 0).astype(np.float32) / 255
    values[values == 0] = 0.5  # beyond both brains
    coarse = sitk.BinShrink(template_mask(), [2, 2, 4])
    found = brain_likeness(values, ScanBrain(coarse, True, coarse, coarse, ()), sitk.AffineTransform(3))
    assert found.voxel_mm == pytest.approx(np.cbrt(16))
    assert found.overlap > 0.9
