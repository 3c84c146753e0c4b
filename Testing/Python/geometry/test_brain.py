"""It is seen whether a scan shows a brain alone, a head, or less than a whole brain."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib import RegistrationError, register, scan_brain
from ULAERegistrationLib.geometry.brain import find_brain, looks_unstripped, without_holes
from ULAERegistrationLib.geometry.brain_search import SearchedBrain
from ULAERegistrationLib.geometry.canonical import sample_on_canonical, template, template_mask
from ULAERegistrationLib.scan_brain import find_scan_brain
from ULAERegistrationLib.settings import RegistrationSettings


def never(image: sitk.Image) -> sitk.Image:
    raise AssertionError("a stripped scan needs no extraction")


@pytest.fixture(scope="module")
def head() -> sitk.Image:
    """The template in a bright scalp over a dark skull, in noisy air."""
    distance = sitk.GetArrayFromImage(
        sitk.SignedMaurerDistanceMap(template_mask(), squaredDistance=False, useImageSpacing=True)
    )
    values = sitk.GetArrayFromImage(template()).astype(np.float32)
    values[(distance > 0) & (distance <= 7)] = 25
    values[(distance > 7) & (distance <= 14)] = 220
    values += np.abs(np.random.default_rng(0).normal(0, 5, values.shape))
    image = sitk.GetImageFromArray(values.clip(0, 255).astype(np.uint8))
    image.CopyInformation(template())
    return image


@pytest.mark.parametrize("share", [0.4, 0.6, 0.8])
@pytest.mark.parametrize("size", [(1, 7, 9), (20, 3, 11), (16, 17, 18)])
def test_holes_are_filled_as_by_itk(share, size):
    values = np.random.default_rng(0).random(size) < share
    mask = sitk.GetImageFromArray(values.astype(np.uint8))
    mask.SetSpacing((1.0, 2.0, 3.0))
    for one in (mask, mask * 0, mask * 0 + 1):
        filled, expected = without_holes(one), sitk.BinaryFillhole(one)
        assert filled.GetSpacing() == mask.GetSpacing()
        np.testing.assert_array_equal(sitk.GetArrayFromImage(filled), sitk.GetArrayFromImage(expected))


def test_a_stripped_brain_of_the_bodys_size_needs_no_extraction():
    small = sitk.Image(template())
    small.SetSpacing([0.9] * 3)
    assert find_brain(small, never) is None


def test_the_brain_of_a_head_is_what_the_extractor_finds(head):
    assert looks_unstripped(head)
    found = find_brain(head, lambda image: template_mask())
    assert np.array_equal(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(template_mask()))


def test_a_large_brain_stays_as_it_is_where_next_to_nothing_lies_far_from_its_mask():
    """Stretched to MNI space a stripped brain is as large as a small head: the extractor decides."""
    asked = []

    def extractor(image: sitk.Image) -> sitk.Image:
        asked.append(image)
        return sitk.BinaryErode(template_mask(), (4, 4, 4))

    assert find_brain(template(), extractor) is None
    assert len(asked) == 1


@pytest.mark.slow
def test_where_masks_are_to_be_given_a_large_stripped_brain_needs_none():
    assert find_scan_brain(template(), None, "fixed", RegistrationSettings(brain="given")).mask is None


@pytest.mark.slow
def test_where_masks_are_to_be_given_a_head_without_one_is_refused_and_no_brain_is_looked_for(head, monkeypatch):
    monkeypatch.setattr(scan_brain, "extract_brain", lambda image: pytest.fail("a brain was looked for"))
    with pytest.raises(RegistrationError, match="The fixed image shows more than the brain and no mask"):
        register(head, template(), brain="given")


def as_image(values: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(values.astype(np.float32))
    image.CopyInformation(template())
    return image


def half_a_voxel_on(image: sitk.Image) -> sitk.Image:
    return sitk.Resample(image, sitk.TranslationTransform(3, (0.5, 0.5, 0.5)), sitk.sitkLinear, 0.0)


def test_what_lies_beside_a_part_of_a_head_is_as_dark_as_its_air():
    """Where the template's brain reaches beyond the scan, and the air is lower than 0."""
    part = as_image(np.random.default_rng(0).normal(100, 3, (160, 192, 160)))[:, :, 40:120]
    lower = sitk.Cast(part, sitk.sitkFloat32) - 1024
    seen = [sample_on_canonical(scan, sitk.AffineTransform(3)) for scan in (part, lower)]
    np.testing.assert_allclose(seen[1], seen[0], atol=1e-3)


def test_voxels_of_half_a_millimetre_are_averaged():
    fine = sitk.Expand(template(), (2, 2, 2), sitk.sitkLinear)
    noise = np.random.default_rng(0).normal(0, 25, sitk.GetArrayViewFromImage(fine).shape).astype(np.float32)
    noisy = sitk.GetImageFromArray(sitk.GetArrayFromImage(fine) + noise)
    noisy.CopyInformation(fine)
    mask = sitk.Resample(template_mask(), fine, sitk.Transform(), sitk.sitkNearestNeighbor)
    seen = [sample_on_canonical(scan, sitk.AffineTransform(3), mask) for scan in (fine, noisy)]
    inside = seen[0] > 0.3
    assert (seen[1] - seen[0])[inside].std() < 25 / 255 / 2


def test_padding_changes_nothing_of_what_is_aligned():
    padded = sitk.ConstantPad(template(), [120] * 3, [120] * 3)
    plain, found = (sitk.GetArrayFromImage(SearchedBrain.of(scan, None).image) for scan in (template(), padded))
    assert np.abs(plain - found).max() < 0.05


@pytest.mark.parametrize("kind", ["padded", "padded, then resampled", "z-scores", "lower", "higher", "brain higher"])
def test_a_background_that_is_no_dark_tissue_changes_neither_what_is_aligned_nor_what_the_network_sees(kind):
    values, brain = (sitk.GetArrayFromImage(image) for image in (template(), template_mask()))
    values, brain = 4.0 * values, brain > 0
    plain = as_image(values * brain)
    if kind == "z-scores":
        other = as_image((values - values[brain].mean()) / values[brain].std() * brain)
    elif kind in ("lower", "higher", "brain higher"):  # by 32768 where signed numbers were stored as unsigned ones
        other = as_image({"lower": -1024, "higher": 32768, "brain higher": 32768 * brain}[kind] + values * brain)
    else:
        other = as_image(np.where(brain, values, -1024))
    if kind == "padded, then resampled":
        plain, other = half_a_voxel_on(plain), half_a_voxel_on(other)
    mask, inside = template_mask(), brain.transpose(2, 1, 0)
    seen = [sample_on_canonical(scan, sitk.AffineTransform(3), mask)[inside] for scan in (plain, other)]
    bound = 0.1 if kind in ("z-scores", "brain higher") else 0.02  # the darkest tissue becomes 0 there
    assert np.abs(seen[0] - seen[1]).mean() < bound
    assert np.corrcoef(*seen)[0, 1] > 0.99
    searched = [sitk.GetArrayFromImage(SearchedBrain.of(scan, mask).image) for scan in (plain, other)]
    shown = [image[searched[0] > 0.1] for image in searched]
    assert np.abs(shown[0] - shown[1]).mean() < bound
    assert np.corrcoef(*shown)[0, 1] > 0.99


def test_where_masks_are_to_be_given_what_is_found_to_show_more_than_the_brain_is_refused_too(monkeypatch):
    """A scan as large as a small head, of which much lies far from its brain."""
    monkeypatch.setattr(scan_brain, "extract_brain", lambda image: sitk.BinaryErode(template_mask(), (24, 24, 24)))
    with pytest.raises(RegistrationError, match="The fixed image shows more than the brain and no mask"):
        find_scan_brain(template(), None, "fixed", RegistrationSettings(brain="given"))
