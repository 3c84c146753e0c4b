"""What holds for every transform and image, tried on many that hypothesis makes up."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from ULAERegistrationLib.flows.warp import compose, compose_all, warp
from ULAERegistrationLib.geometry.affine import to_matrix, to_transform
from ULAERegistrationLib.geometry.inverse import inverse
from ULAERegistrationLib.geometry.resampling import resample
from ULAERegistrationLib.geometry.transforms import displacement_field, field_transform
from ULAERegistrationLib.tensors import array_of, tensor_of

few = settings(max_examples=15, deadline=None, suppress_health_check=list(HealthCheck), derandomize=True)
SIZE = (9, 10, 11)
numbers = st.floats(-1.0, 1.0, width=32)


def smooth(coarse: np.ndarray, size: tuple[int, int, int] = SIZE) -> np.ndarray:
    """Numbers at the corners of a box, interpolated inside: a flow without folds."""
    image = sitk.GetImageFromArray(np.ascontiguousarray(coarse.transpose(1, 2, 3, 0)), isVector=True)
    grid = sitk.Image(size[::-1], sitk.sitkUInt8)
    image.SetSpacing([(side - 1) / (count - 1) for side, count in zip(size[::-1], image.GetSize(), strict=True)])
    inside = sitk.Resample(image, grid, sitk.Transform(), sitk.sitkLinear, 0.0, sitk.sitkVectorFloat64)
    return sitk.GetArrayFromImage(inside).transpose(3, 0, 1, 2).astype(np.float32)


flows = arrays(np.float32, (3, 3, 3, 3), elements=numbers).map(smooth)


def between(low: float, high: float) -> st.SearchStrategy[float]:
    """Numbers as headers hold them: ITK loses its way where an angle is 1e-308."""
    return st.floats(low, high).map(lambda number: round(number, 6))


places = st.tuples(*[between(-100, 100)] * 3)
grids = st.builds(
    lambda origin, spacing, angles: (origin, spacing, sitk.Euler3DTransform((0, 0, 0), *angles).GetMatrix()),
    places,
    st.tuples(*[between(0.3, 8.0)] * 3),
    st.tuples(*[between(-3.0, 3.0)] * 3),
)


def placed(image: sitk.Image, grid) -> sitk.Image:
    result = sitk.Image(image)
    result.SetOrigin(grid[0])
    result.SetSpacing(grid[1])
    result.SetDirection(grid[2])
    return result


def batch(array: np.ndarray):
    return tensor_of(np.ascontiguousarray(array))[None]


@few
@given(flows)
def test_composing_with_nothing_changes_nothing(flow) -> None:
    nothing = np.zeros_like(flow)
    for one, other in ((flow, nothing), (nothing, flow)):
        np.testing.assert_allclose(array_of(compose(batch(one), batch(other))[0]), flow, atol=1e-4)


@few
@given(flows, st.floats(0, 1, width=32))
def test_a_constant_stays_constant_where_its_place_is_inside(flow, value) -> None:
    image = np.full((1, *SIZE), value, np.float32)
    inside = np.s_[0, 0, 2:-2, 2:-2, 2:-2]
    warped = warp(batch(image), batch(flow))
    np.testing.assert_allclose(warped.numpy(force=True)[inside], value, atol=1e-6)


@few
@given(flows, flows)
def test_warping_by_a_composition_is_warping_in_sequence(first, second) -> None:
    """Of an image that is linear in space, which interpolation does not change."""
    ramp = np.indices(SIZE).astype(np.float32).sum(axis=0, keepdims=True)
    once = warp(batch(ramp), compose_all([batch(first), batch(second)]))
    in_sequence = warp(warp(batch(ramp), batch(first)), batch(second))
    inside = np.s_[0, 0, 3:-3, 3:-3, 3:-3]
    np.testing.assert_allclose(array_of(once)[inside], array_of(in_sequence)[inside], atol=1e-4)


@pytest.mark.slow
@few
@given(flows, grids)
def test_the_inverse_of_the_inverse_is_the_transform(flow, grid) -> None:
    shrunk = 0.3 * flow  # voxels, so that the field does not fold
    field = sitk.GetImageFromArray(np.ascontiguousarray(shrunk.transpose(1, 2, 3, 0)).astype(float), isVector=True)
    field = placed(field, grid)
    to_mm = np.reshape(grid[2], (3, 3)) * grid[1]
    vectors = sitk.GetArrayFromImage(field) @ to_mm.T
    moved = sitk.GetImageFromArray(vectors, isVector=True)
    moved.CopyInformation(field)
    transform = field_transform(moved)
    again = inverse(inverse(transform))
    for voxel in ((4, 4, 4), (5, 5, 4), (3, 5, 5)):
        point = field.TransformIndexToPhysicalPoint(voxel)
        apart = np.subtract(again.TransformPoint(point), transform.TransformPoint(point))
        # In voxels. The grid is so small that the fading of the field beyond it is felt in its middle.
        assert np.abs(np.linalg.solve(to_mm, apart)).max() < 0.1


@few
@given(grids, places, st.tuples(*[between(-0.4, 0.4)] * 9))
def test_the_inverse_of_a_linear_transform_leads_back(grid, shift, entries) -> None:
    matrix = np.eye(4)
    matrix[:3, :3] += np.reshape(entries, (3, 3)) / 1.5
    matrix[:3, 3] = shift
    transform = to_transform(matrix)
    np.testing.assert_allclose(to_matrix(transform), matrix, atol=1e-9)
    np.testing.assert_allclose(inverse(transform).TransformPoint(transform.TransformPoint(grid[0])), grid[0], atol=1e-6)


@few
@given(grids, st.tuples(*[st.integers(0, 8)] * 3))
def test_a_field_of_one_shift_moves_every_voxel_by_it(grid, voxel) -> None:
    image = placed(sitk.Image([9, 9, 9], sitk.sitkUInt8), grid)
    point = image.TransformIndexToPhysicalPoint(voxel)
    transform = field_transform(displacement_field(sitk.TranslationTransform(3, (1.0, 2.0, 3.0)), image))
    np.testing.assert_allclose(transform.TransformPoint(point), np.add(point, (1, 2, 3)), atol=1e-4)


@few
@given(grids, grids)
def test_a_header_alone_changes_no_value_where_the_transform_follows_it(grid, other) -> None:
    """Resampled through the map between two headers, the voxels are the same."""
    values = np.random.default_rng(0).uniform(0, 1, SIZE).astype(np.float32)
    image = placed(sitk.GetImageFromArray(values), grid)
    moved = placed(sitk.GetImageFromArray(values), other)

    def matrix(of: sitk.Image) -> np.ndarray:
        result = np.eye(4)
        result[:3, :3] = np.reshape(of.GetDirection(), (3, 3)) * of.GetSpacing()
        result[:3, 3] = of.GetOrigin()
        return result

    between = to_transform(matrix(moved) @ np.linalg.inv(matrix(image)))
    found = sitk.GetArrayFromImage(resample(moved, image, between))
    np.testing.assert_allclose(found[1:-1, 1:-1, 1:-1], values[1:-1, 1:-1, 1:-1], atol=1e-4)


@few
@given(st.floats(1e-6, 1e6), flows)
def test_scaling_the_intensities_scales_the_warped_ones(scale, flow) -> None:
    image = np.random.default_rng(0).uniform(0, 1, (1, *SIZE)).astype(np.float32)
    warped = array_of(warp(batch(image), batch(flow)))
    scaled = array_of(warp(batch(np.float32(scale) * image), batch(flow)))
    assert scaled == pytest.approx(np.float32(scale) * warped, rel=1e-4, abs=1e-6 * scale)
