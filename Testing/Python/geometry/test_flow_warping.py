"""A scan warped through a flow is what SimpleITK samples through the whole transform, on awkward images."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.geometry.flow_warping import warp_through_flow
from ULAERegistrationLib.geometry.orientation import KEYS
from ULAERegistrationLib.geometry.resampling import resample


def both_ways(oblique, moving: sitk.Image, fixed: sitk.Image) -> tuple[np.ndarray, np.ndarray]:
    """A scan warped through the flow, and by SimpleITK through the transform."""
    warped = warp_through_flow(moving, fixed, oblique.total, oblique.alignment)
    exact = resample(moving, fixed, oblique.transform)
    assert (warped.GetPixelID(), warped.GetSize()) == (moving.GetPixelID(), fixed.GetSize())
    assert (warped.GetOrigin(), warped.GetSpacing()) == (fixed.GetOrigin(), fixed.GetSpacing())
    assert warped.GetDirection() == fixed.GetDirection()
    return sitk.GetArrayFromImage(warped).astype(float), sitk.GetArrayFromImage(exact).astype(float)


@pytest.mark.parametrize("kind", [sitk.sitkInt16, sitk.sitkUInt16, sitk.sitkInt32, sitk.sitkInt64])
def test_a_scan_of_whole_numbers_is_warped_as_by_simpleitk(oblique, kind) -> None:
    warped, exact = both_ways(oblique, sitk.Cast(oblique.moving, kind), oblique.fixed)
    assert np.ptp(exact) > 1000
    assert np.abs(warped - exact).max() <= 2  # a thousandth of a voxel is up to 1.2, rounded
    assert np.abs(warped - exact).mean() < 0.1
    assert abs((warped - exact).mean()) < 0.01  # which it is not where numbers are cut off instead of rounded


@pytest.mark.parametrize(("kind", "added"), [(sitk.sitkFloat32, 0.0), (sitk.sitkFloat64, 0.0), (sitk.sitkFloat64, 1e6)])
def test_a_scan_of_any_other_numbers_is_warped_as_by_simpleitk(oblique, kind, added) -> None:
    warped, exact = both_ways(oblique, sitk.Cast(oblique.moving, kind) + added, oblique.fixed)
    inside = exact != 0
    assert np.ptp(exact[inside]) > 1000
    assert np.abs(warped - exact)[inside].max() <= 0.001 * np.ptp(exact[inside])
    np.testing.assert_array_equal(warped[~inside], 0)


@pytest.mark.parametrize("background", [200.0, 0.3, -1.3])
def test_a_background_stays_as_it_is(oblique, background) -> None:
    """Rounded in places, it would no longer be the lowest value, by which the outside of a scan is known."""
    scan = sitk.Cast(oblique.moving, sitk.sitkFloat32) / 1000 + background
    corner = [size // 3 for size in scan.GetSize()]
    scan = sitk.ConstantPad(scan[corner[0] :, corner[1] :, corner[2] :], corner, [3] * 3, background)
    scan = sitk.Cast(scan, sitk.sitkFloat32)
    lowest = sitk.GetArrayFromImage(scan).min()
    warped, _ = both_ways(oblique, scan, oblique.fixed)
    assert warped.min() == lowest
    assert np.mean(warped == lowest) > 0.3


@pytest.mark.parametrize("order", [(0, 1, 2), (1, 2, 0), (2, 0, 1)])
def test_the_order_and_direction_of_the_axes_of_either_scan_do_not_matter(oblique, order) -> None:
    fixed, moving = (
        sitk.Flip(sitk.PermuteAxes(image, order), [axis == order[0] for axis in range(3)])
        for image in (oblique.fixed, sitk.Cast(oblique.moving, sitk.sitkFloat32))
    )
    warped, exact = both_ways(oblique, moving, fixed)
    assert np.abs(warped - exact).max() <= 0.001 * np.ptp(exact)


def test_the_result_carries_the_orientations_of_the_fixed_scans_header(oblique) -> None:
    fixed = sitk.Image(oblique.fixed)
    for key in KEYS:
        fixed.SetMetaData(key, f"the fixed scan's {key}")
    warped = warp_through_flow(oblique.moving, fixed, oblique.total, oblique.alignment)
    assert [warped.GetMetaData(key) for key in KEYS] == [fixed.GetMetaData(key) for key in KEYS]


def test_a_large_scan_at_an_angle_is_sampled_by_simpleitk(oblique) -> None:
    """Of so many rows at a time, coordinates would be rounded to .006 voxels."""
    warped, exact = both_ways(oblique, sitk.Expand(oblique.moving, [2, 5, 5]), oblique.fixed)
    np.testing.assert_array_equal(warped, exact)


def test_wide_numbers_keep_their_digits(oblique) -> None:
    values = 2**30 + sitk.Cast(oblique.moving, sitk.sitkInt32)
    warped, exact = both_ways(oblique, values, oblique.fixed)
    assert exact.max() > 2**30
    assert np.abs(warped - exact).max() <= 0.001 * 1500


def test_outside_of_the_moving_scan_is_what_simpleitk_takes_as_outside(oblique) -> None:
    """A scan that the fixed image reaches beyond, bright up to its border, where ITK shows it half a voxel farther."""
    middle = [size // 3 for size in oblique.moving.GetSize()]
    part = oblique.moving[tuple(slice(start, 2 * start) for start in middle)]
    for shown in (part + 500, sitk.ConstantPad(part, [1] * 3, [1] * 3, -1024)):
        warped, exact = both_ways(oblique, sitk.Cast(shown, sitk.sitkFloat32), oblique.fixed)
        outside = -1024 if shown.GetSize() != part.GetSize() else 0
        assert np.mean(exact == outside) > 0.5
        far = np.abs(warped - exact) > 0.001 * np.ptp(exact)
        assert far.mean() < 1e-5  # a place that is rounded to the other side of the border
