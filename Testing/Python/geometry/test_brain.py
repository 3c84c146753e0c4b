"""It is seen whether a scan shows a brain alone, a head, or less than a whole brain."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib import RegistrationError, register
from ULAERegistrationLib.geometry.brain import cut_sides, find_brain, looks_unstripped
from ULAERegistrationLib.geometry.canonical import template, template_mask


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


@pytest.mark.parametrize("flip", [(1, 1, 1), (-1, 1, 1), (1, -1, -1)])
@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1)])
def test_a_cut_is_named_by_the_side_of_the_body_however_the_scan_is_stored(flip, order):
    """A ball that leaves the field of view at its top."""
    size = 40
    x, y, z = np.meshgrid(*[np.arange(size)] * 3, indexing="ij")
    ball = ((x - 20) ** 2 + (y - 20) ** 2 + (z - 30) ** 2 < 15**2).astype(np.uint8)  # [L, P, S]
    image = sitk.GetImageFromArray(np.ascontiguousarray(ball.transpose(2, 1, 0)))
    assert cut_sides(image) == ["top"]
    stored = sitk.PermuteAxes(sitk.Flip(image, [step < 0 for step in flip]), order)
    assert cut_sides(stored) == ["top"]
    assert cut_sides(stored[1:-1, 1:-1, 1:-1] * 0) == []


def test_a_whole_brain_is_not_called_cut():
    assert cut_sides(template_mask()) == []


@pytest.mark.parametrize("voxel_mm", [1, 5])
@pytest.mark.parametrize(("missing_mm", "sides"), [(4, []), (8, ["top"])])
def test_whether_a_brain_is_cut_off_does_not_depend_on_the_size_of_the_voxels(voxel_mm, missing_mm, sides):
    """A ball of 65 mm whose top misses 4 mm, 12 % of its largest section, was called cut at 5 mm alone."""
    below = np.arange(missing_mm + voxel_mm / 2, 140, voxel_mm)  # the centres' distance from the highest point, mm
    across = np.arange(-80, 80, voxel_mm) + voxel_mm / 2
    height, depth, width = np.meshgrid(below[::-1], across, across, indexing="ij")
    ball = ((height - 65) ** 2 + depth**2 + width**2 < 65**2).astype(np.uint8)
    assert cut_sides(sitk.GetImageFromArray(ball)) == sides


def test_where_masks_are_to_be_given_a_head_without_one_is_refused(head):
    with pytest.raises(RegistrationError, match="The fixed image shows more than the brain and no mask"):
        register(head, template(), brain="given")
