"""The sides on which the field of view cuts a brain off are found, and a neck is no brain."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.geometry.canonical import template_mask
from ULAERegistrationLib.geometry.cut import cut_sides


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


def with_neck(mask: sitk.Image, radius_mm: float) -> sitk.Image:
    """The mask with a cylinder from the middle of the brain stem down to the lowest slice."""
    values = sitk.GetArrayFromImage(mask)
    height, back, right = np.indices(values.shape)
    stem = np.argwhere(values[12])
    middle = stem.mean(0) if len(stem) else np.array(values.shape[1:]) / 2
    lowest = int(np.flatnonzero(values.any((1, 2)))[0])
    values[(height <= lowest + 6) & (np.hypot(back - middle[0], right - middle[1]) < radius_mm)] = 1
    necked = sitk.GetImageFromArray(values)
    necked.CopyInformation(mask)
    return necked


@pytest.mark.parametrize("placed", [sitk.TranslationTransform(3), sitk.TranslationTransform(3, (30.0, -20.0, 40.0))])
def test_a_neck_that_was_left_in_stripping_is_not_taken_for_a_cut_brain(placed):
    """Two of 82 brains of many sources show muscles and bone of the neck down to the lowest slice."""
    necked = with_neck(template_mask(), radius_mm=40)
    necked.SetOrigin(placed.GetInverse().TransformPoint(necked.GetOrigin()))
    assert cut_sides(necked) == ["bottom"]
    assert cut_sides(necked, placed) == []


@pytest.mark.parametrize(("first", "last", "sides"), [(45, 110, ["bottom", "top"]), (45, 160, ["bottom"])])
def test_a_slab_of_a_brain_is_cut_off_whatever_the_template_shows(first, last, sides):
    slab = template_mask()[:, :, first:last]
    assert cut_sides(slab) == sides
    assert cut_sides(slab, sitk.TranslationTransform(3)) == sides


@pytest.mark.parametrize(
    ("towards", "side"),
    [
        ((-1, 0, 0), "right"),
        ((1, 0, 0), "left"),
        ((0, -1, 0), "front"),
        ((0, 1, 0), "back"),
        ((0, 0, -1), "bottom"),
        ((0, 0, 1), "top"),
    ],
)
def test_each_side_of_the_body_has_its_name(towards, side):
    """LPS: coordinates grow to the left, to the back and to the top."""
    ball = sitk.Image([40] * 3, sitk.sitkUInt8)
    ball.SetOrigin([-20.0] * 3)
    centre = np.multiply(towards, 12.0)
    inside = sitk.GaussianSource(sitk.sitkFloat32, [40] * 3, [10.0] * 3, centre.tolist(), 1.0, [-20.0] * 3) > 0.325
    assert cut_sides(inside) == [side]
