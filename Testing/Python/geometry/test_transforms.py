"""Voxels to millimetres and back: every conversion against SimpleITK's own machinery, on an awkward image."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch
from in_world import mapped

from ULAERegistrationLib.flows.jacobian import smallest_jacobian
from ULAERegistrationLib.geometry.canonical import canonical_grid
from ULAERegistrationLib.geometry.frame import CANONICAL_ORIGIN, CANONICAL_SIZE
from ULAERegistrationLib.geometry.resampling import resample
from ULAERegistrationLib.geometry.transforms import (
    covering_grid,
    displacement_field,
    field_transform,
    flow_transform,
    step_transform,
)


@pytest.fixture(scope="module")
def field(oblique) -> sitk.Image:
    """The whole map as one displacement field over the fixed image."""
    return displacement_field(oblique.transform, oblique.fixed)


@pytest.fixture(scope="module")
def stored(field) -> sitk.DisplacementFieldTransform:
    return field_transform(field)


def test_a_flow_moves_voxel_p_to_p_plus_u(oblique) -> None:
    transform = flow_transform(oblique.flows[0])
    for voxel in ((0, 0, 0), (159, 191, 159), (80, 10, 120)):
        reached = transform.TransformPoint(canonical_grid().TransformIndexToPhysicalPoint(voxel))
        expected = np.array(voxel) + oblique.flows[0][:, *voxel]  # 1 mm voxels, axes along L, P, S
        np.testing.assert_allclose(np.subtract(reached, CANONICAL_ORIGIN), expected, atol=1e-4)


def test_between_voxels_a_flow_is_what_simpleitk_interpolates(oblique) -> None:
    plain = sitk.GetImageFromArray(oblique.flows[0].transpose(3, 2, 1, 0).astype(np.float64), isVector=True)
    plain.SetOrigin(CANONICAL_ORIGIN)
    inside = np.random.default_rng(0).uniform(CANONICAL_ORIGIN, np.add(CANONICAL_ORIGIN, (158, 190, 158)), (200, 3))
    reference = sitk.DisplacementFieldTransform(plain)
    np.testing.assert_allclose(mapped(flow_transform(oblique.flows[0]), inside), mapped(reference, inside), atol=1e-4)


@pytest.mark.parametrize("shift", [(4.0, 0.0, 0.0), (-6.0, 4.0, -5.0), (10.0, -12.0, 9.0)])
def test_a_flow_fades_beyond_the_canonical_grid_without_a_jump_or_a_fold(shift) -> None:
    """Within 8 voxels, whatever it was, what moves the border by more than 5 mm was folded."""
    flow = np.zeros((3, *CANONICAL_SIZE), np.float32) + np.float32(shift)[:, None, None, None]
    transform = flow_transform(flow)
    field = sitk.GetArrayFromImage(transform.GetDisplacementField()).transpose(3, 2, 1, 0)
    assert all(np.abs(field.take(end, axis)).max() == 0 for axis in (1, 2, 3) for end in (0, -1))
    assert smallest_jacobian(torch.from_numpy(field[None].astype(np.float32))).min() > 0.2
    line = np.column_stack([np.arange(-160, -70, 0.25), np.zeros(360), np.zeros(360)])
    moved = mapped(transform, line) - line
    np.testing.assert_allclose(moved[0], 0)
    np.testing.assert_allclose(moved[-1], shift, rtol=1e-6)
    assert np.linalg.norm(np.diff(moved, axis=0), axis=1).max() < 0.25 * 0.75


def test_a_coarse_field_is_the_fine_one_at_every_second_voxel_up_to_where_both_fade(oblique) -> None:
    flow = oblique.flows[0]
    fine, coarse = (flow_transform(flow, every).GetDisplacementField() for every in (1, 2))
    assert coarse.GetSpacing() == (2, 2, 2)
    values = sitk.GetArrayViewFromImage(coarse)
    np.testing.assert_array_equal(values[:-1, :-1, :-1], sitk.GetArrayViewFromImage(fine)[::2, ::2, ::2])
    assert all(np.abs(values.take(end, axis)).max() == 0 for axis in range(3) for end in (0, -1))
    centres = np.random.default_rng(0).integers((-4, -4, -4), np.array(CANONICAL_SIZE) // 2 + 4, (100, 3)) * 2
    places = centres + np.array(CANONICAL_ORIGIN)
    np.testing.assert_allclose(mapped(flow_transform(flow, 2), places), mapped(flow_transform(flow), places), atol=1e-6)


def test_a_step_is_flow_between_the_affine_and_its_inverse(oblique) -> None:
    to_canonical = oblique.alignment.fixed_to_canonical
    parts = mapped(flow_transform(oblique.flows[1]), mapped(to_canonical, oblique.points))
    parts = mapped(to_canonical.GetInverse(), parts)
    step = step_transform(oblique.flows[1], oblique.alignment)
    np.testing.assert_allclose(mapped(step, oblique.points), parts, atol=1e-9)


def test_the_whole_map_is_its_steps_one_after_the_other(oblique) -> None:
    voxels = np.random.default_rng(5).integers((20, 20, 20), (140, 170, 140), (200, 3))
    canonical = voxels + np.array(CANONICAL_ORIGIN)  # where the composed flow is not interpolated
    centres = mapped(oblique.alignment.fixed_to_canonical.GetInverse(), canonical)
    for points, accuracy in ((centres, 1e-4), (oblique.points, 0.05)):
        parts = points
        for flow in reversed(oblique.flows):  # T = T1(T2(T3(p)))
            parts = mapped(step_transform(flow, oblique.alignment), parts)
        expected = mapped(oblique.alignment.fixed_to_moving, parts)
        np.testing.assert_allclose(mapped(oblique.transform, points), expected, atol=accuracy)


def test_far_from_the_brain_the_map_is_the_affine_alone(oblique) -> None:
    far = np.array(oblique.fixed.GetOrigin()) + np.random.default_rng(0).normal(0, 1e3, (100, 3))
    canonical = mapped(oblique.alignment.fixed_to_canonical, far) - CANONICAL_ORIGIN
    far = far[((canonical < -20) | (canonical > np.add(CANONICAL_SIZE, 20))).any(axis=1)]
    assert len(far) > 50
    expected = mapped(oblique.alignment.fixed_to_moving, far)
    np.testing.assert_allclose(mapped(oblique.transform, far), expected, atol=1e-6)


def test_one_field_is_the_whole_map_within_a_twentieth_of_a_millimetre(oblique, stored) -> None:
    expected = mapped(oblique.transform, oblique.points)
    assert np.linalg.norm(expected - oblique.points, axis=1).max() > 100
    assert np.linalg.norm(mapped(stored, oblique.points) - expected, axis=1).max() < 0.05


def test_at_the_voxels_of_the_fixed_image_one_field_is_the_whole_map(oblique, stored) -> None:
    voxels = np.random.default_rng(5).integers(0, oblique.fixed.GetSize(), (100, 3))
    centres = np.array([oblique.fixed.TransformIndexToPhysicalPoint(voxel.tolist()) for voxel in voxels])
    np.testing.assert_allclose(mapped(stored, centres), mapped(oblique.transform, centres), atol=1e-4)


@pytest.mark.parametrize(
    ("own", "taken"), [(0.5, 1.0), (0.7, 0.7), (0.8, 0.8), (1.0, 1.0), (1.2, 1.2), (1.6, 0.8), (3.0, 1.0), (5.0, 1.0)]
)
def test_the_samples_of_a_field_fall_on_voxels(own, taken) -> None:
    image = sitk.Image([40, 41, 42], sitk.sitkUInt8)
    image.SetSpacing([own] * 3)
    image.SetOrigin((7.0, 8.0, 9.0))
    grid = covering_grid(image)
    assert grid.GetSpacing() == pytest.approx([taken] * 3)
    first = np.array(grid.TransformPhysicalPointToContinuousIndex(image.GetOrigin()))
    np.testing.assert_allclose(first, np.rint(first), atol=1e-6)


def test_the_stored_field_covers_the_fixed_image_along_its_axes(field, oblique) -> None:
    fixed = oblique.fixed
    assert field.GetDirection() == pytest.approx(fixed.GetDirection())
    for corner in np.ndindex(2, 2, 2):
        outer = [-0.5 if low else size - 0.5 for low, size in zip(corner, fixed.GetSize(), strict=True)]
        index = field.TransformPhysicalPointToContinuousIndex(fixed.TransformContinuousIndexToPhysicalPoint(outer))
        assert all(0 <= i <= size - 1 for i, size in zip(index, field.GetSize(), strict=True))


def test_a_warped_volume_is_what_simpleitk_resamples_rounded(oblique, stored) -> None:
    fixed, moving = oblique.fixed, oblique.moving
    warped = resample(moving, fixed, stored)
    exact = sitk.Resample(sitk.Cast(moving, sitk.sitkFloat64), fixed, stored, sitk.sitkLinear, 0.0)
    assert warped.GetPixelID() == moving.GetPixelID()
    assert warped.GetSize() == fixed.GetSize()
    assert warped.GetDirection() == fixed.GetDirection()
    # It is sampled in float32, so that what lies half way between two whole numbers may go to either.
    apart = sitk.GetArrayFromImage(warped) - sitk.GetArrayFromImage(exact)
    assert np.abs(apart).max() <= 0.5 + 1e-3
    floating = sitk.Cast(moving, sitk.sitkFloat32)
    np.testing.assert_array_equal(
        sitk.GetArrayFromImage(resample(floating, fixed, stored)),
        sitk.GetArrayFromImage(sitk.Resample(floating, fixed, stored, sitk.sitkLinear, 0.0)),
    )


def test_a_volume_warped_by_the_whole_map_is_what_simpleitk_resamples_through_it(oblique) -> None:
    moving, fixed = sitk.Cast(oblique.moving, sitk.sitkFloat32), oblique.fixed
    warped = resample(moving, fixed, oblique.transform)
    exact = sitk.Resample(moving, fixed, oblique.transform, sitk.sitkLinear, 0.0)
    apart = np.abs(sitk.GetArrayFromImage(warped) - sitk.GetArrayFromImage(exact))
    assert np.ptp(sitk.GetArrayViewFromImage(exact)) > 1000
    assert apart.max() < 0.01
    assert (warped.GetOrigin(), warped.GetSpacing()) == (fixed.GetOrigin(), fixed.GetSpacing())
    assert warped.GetDirection() == fixed.GetDirection()


def test_labels_stay_labels_and_outside_is_nothing(oblique, stored) -> None:
    fixed, moving = oblique.fixed, oblique.moving
    labels = sitk.Cast(moving > 1200, sitk.sitkUInt16) * 1001 + 7
    warped = sitk.GetArrayFromImage(resample(labels, fixed, stored, labels=True))
    assert set(np.unique(warped)) <= {0, 7, 1008}
    away = sitk.TranslationTransform(3, (1e4, 0, 0))
    assert sitk.GetArrayFromImage(resample(moving, fixed, away)).max() == 0
    lifted = sitk.ConstantPad(moving - 1024, [3] * 3, [3] * 3, -1024)
    lowest = resample(lifted, fixed, away)
    assert set(np.unique(sitk.GetArrayFromImage(lowest))) == {-1024}


def test_outside_a_scan_with_dark_noisy_air_is_air() -> None:
    """As in a scan of a whole head whose intensities were lowered, or made z-scores."""
    values = np.random.default_rng(0).normal(-1000, 5, (20, 20, 20))
    values[5:15, 5:15, 5:15] = -300
    head = sitk.GetImageFromArray(values.astype(np.float32))
    beside = resample(head, head, sitk.TranslationTransform(3, (1e4, 0, 0)))
    assert np.unique(sitk.GetArrayFromImage(beside)).tolist() == [pytest.approx(-1000, abs=1)]
