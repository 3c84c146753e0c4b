"""What one of two brains lacks is found, and does not mislead the alignment."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.geometry.brain_search import SearchedBrain
from ULAERegistrationLib.geometry.canonical import template
from ULAERegistrationLib.geometry.gaps import MARGIN_MM, SMALLEST_MM, _cores, gaps

SIZE = 60


@pytest.fixture
def ball() -> np.ndarray:
    return _distance_from(SIZE // 2) < 25


def _distance_from(middle: int) -> np.ndarray:
    return np.linalg.norm(np.indices((SIZE,) * 3) - middle, axis=0)


def test_two_whole_brains_whose_surfaces_and_ventricles_differ_have_no_gap(ball):
    larger, hollow = _distance_from(SIZE // 2) < 28, ball & (_distance_from(SIZE // 2) > 8)
    assert not gaps(ball, larger, 1.0).any()
    assert not gaps(ball, hollow, 1.0).any()
    assert not gaps(ball, np.roll(ball, 3, 0), 1.0).any()


@pytest.mark.parametrize("voxel_mm", [1.0, 2.0])
def test_what_either_brain_lacks_is_found_with_a_margin(ball, voxel_mm):
    cut = ball.copy()
    cut[40:] = False  # a cap of 14 voxels
    found = gaps(ball, cut, voxel_mm)
    assert np.array_equal(found, gaps(cut, ball, voxel_mm))
    depth = SIZE // 2
    first = int(np.flatnonzero(found[:, depth, depth])[0])
    assert 40 - first == pytest.approx(MARGIN_MM / voxel_mm, abs=1)
    assert found[40:50, depth, depth].all()
    assert not found[: SIZE // 2 - 3].any()


@pytest.mark.parametrize("reach", [1, 2, 4])
def test_what_lies_deep_in_a_part_is_what_itk_erodes_it_to(reach):
    noise = sitk.GetImageFromArray(np.random.default_rng(reach).normal(size=(30, 34, 38)).astype(np.float32))
    part = sitk.SmoothingRecursiveGaussian(noise, 2.0 * reach) > 0
    found = _cores(sitk.GetArrayFromImage(part) > 0, SMALLEST_MM / reach)
    eroded = sitk.GetArrayFromImage(sitk.BinaryErode(part, [reach] * 3, sitk.sitkBox))
    assert found.any()
    assert np.array_equal(found, eroded > 0)


def test_where_hardly_anything_is_common_nothing_is_left_out(ball):
    slab, nothing = ball.copy(), np.zeros_like(ball)
    slab[:26], slab[34:] = False, False
    for other in (slab, nothing):
        assert not gaps(ball, other, 1.0).any()
        assert not gaps(other, ball, 1.0).any()


@pytest.mark.slow
def test_a_brain_without_a_corner_is_not_stretched_to_fill_it():
    whole = sitk.BinShrink(template(), [2, 2, 2])
    values = sitk.GetArrayFromImage(whole)
    _, y, x = np.indices(values.shape)
    values[x + y > np.quantile((x + y)[values > 0], 0.9)] = 0  # left and behind
    cut = sitk.GetImageFromArray(values)
    cut.CopyInformation(whole)
    brains = [SearchedBrain.of(image, None) for image in (whole, cut)]
    for fixed, moving in (brains, brains[::-1]):
        found, _ = moving.matched_to(fixed, np.eye(4), "affine", None)
        corners = np.array(
            [[place, height, depth, 1] for place in (-60, 60) for height in (-60, 80) for depth in (-50, 60)]
        )
        assert (
            np.linalg.norm(corners @ (found - np.eye(4))[:3].T, axis=1).max() < 1
        )  # mm; 12 where the gap was not looked for
