"""What belongs to the moving image is carried to the fixed one, images and points alike; and back."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

import ULAERegistrationLib as ulae
from ULAERegistrationLib.errors import RegistrationError

CENTRE = np.array([40.0, -30.0, 20.0])  # of the fixed image, mm


def field() -> sitk.DisplacementFieldTransform:
    """A smooth bend of 6 mm over 80 mm, turned by 50 degrees and moved far away."""
    turn = sitk.Euler3DTransform(CENTRE.tolist(), 0.0, 0.0, np.radians(50), (200.0, 10.0, -60.0))
    grid = sitk.Image([44, 44, 44], sitk.sitkVectorFloat64, 3)
    grid.SetSpacing((2, 2, 2))
    grid.SetOrigin((CENTRE - 43).tolist())
    z, y, x = np.indices((44, 44, 44)) * 2 - 43
    bend = np.stack([6 * np.sin(y / 13), 5 * np.cos(z / 13), 4 * np.sin(x / 13)], axis=-1)
    image = sitk.GetImageFromArray(bend.astype(float), isVector=True)
    image.CopyInformation(grid)
    chain = sitk.CompositeTransform([turn, sitk.DisplacementFieldTransform(image)])
    place = grid.GetSize(), grid.GetOrigin(), grid.GetSpacing(), grid.GetDirection()
    return sitk.DisplacementFieldTransform(sitk.TransformToDisplacementField(chain, sitk.sitkVectorFloat64, *place))


@pytest.fixture(scope="module")
def transform() -> sitk.Transform:
    return field()


@pytest.fixture(scope="module")
def points() -> np.ndarray:
    return CENTRE + np.random.default_rng(0).uniform(-35, 35, (40, 3))


def test_points_of_the_fixed_image_go_through_the_transform_as_itk_maps_them(transform, points) -> None:
    there = ulae.apply_transform_to_points(transform, points, inverse=True)
    assert np.allclose(there, [transform.TransformPoint(point) for point in points.tolist()])


def test_points_of_the_moving_image_come_back_to_where_the_transform_took_them_from(transform, points) -> None:
    there = ulae.apply_transform_to_points(transform, points, inverse=True)
    assert np.abs(ulae.apply_transform_to_points(transform, there) - points).max() < 0.01


def test_points_follow_the_image_that_they_were_set_on(transform) -> None:
    """A bright spot of the moving image is found, after warping, where its centre is carried."""
    spot = np.array(transform.TransformPoint((CENTRE + np.array([8, -12, 5])).tolist()))
    source = sitk.GaussianSource(sitk.sitkFloat32, [61] * 3, [4] * 3, spot.tolist(), 255, (spot - 30).tolist())
    like = sitk.Image([60, 60, 60], sitk.sitkUInt8)
    like.SetOrigin((CENTRE - 30).tolist())
    warped = sitk.GetArrayFromImage(ulae.apply_transform(transform, source, like)).transpose(2, 1, 0)
    bright = np.argwhere(warped > 0.98 * warped.max()).mean(axis=0) + CENTRE - 30
    assert np.linalg.norm(ulae.apply_transform_to_points(transform, spot[None])[0] - bright) < 0.7


def test_a_point_without_a_counterpart_is_named() -> None:
    grid = sitk.Image([20, 20, 20], sitk.sitkVectorFloat64, 3)
    values = np.zeros((20, 20, 20, 3))
    values[..., 0] = -0.999 * np.arange(20)[None, None, :]  # everything lands at x = 0 to 0.02, or beyond the field
    collapsed = sitk.GetImageFromArray(values, isVector=True)
    collapsed.CopyInformation(grid)
    with pytest.raises(RegistrationError, match=r"1 of 2 points have no counterpart \(number 2\)"):
        ulae.apply_transform_to_points(sitk.DisplacementFieldTransform(collapsed), [[0.01, 5, 5], [8.0, 5, 5]])


def test_a_transform_survives_its_file(transform, points, tmp_path) -> None:
    for name in ("t.h5", "t.nii.gz"):
        ulae.write_transform(transform, tmp_path / name)
        again = ulae.read_transform(tmp_path / name)
        assert np.allclose(
            ulae.apply_transform_to_points(again, points, inverse=True),
            ulae.apply_transform_to_points(transform, points, inverse=True),
            atol=1e-3,
        )


@pytest.fixture(scope="module")
def edges() -> sitk.Image:
    """A bright block, unsigned bytes."""
    values = np.full((24, 24, 24), 10, np.uint8)
    values[8:16, 8:16, 8:16] = 250
    return sitk.GetImageFromArray(values)


def test_the_ways_of_sampling_are_itks_own(edges) -> None:
    shift = sitk.TranslationTransform(3, (0.4, 0.3, 0.2))
    for name, how in (("nearest", sitk.sitkNearestNeighbor), ("linear", sitk.sitkLinear), ("cubic", sitk.sitkBSpline)):
        ours = sitk.GetArrayFromImage(ulae.apply_transform(shift, edges, edges, interpolation=name)).astype(float)
        theirs = sitk.GetArrayFromImage(sitk.Resample(edges, edges, shift, how, 0.0, sitk.sitkFloat64))
        inside = (slice(1, -1),) * 3  # beyond the image both are 0 or the background
        assert np.abs(ours - np.clip(theirs, 10, 250))[inside].max() <= 0.5


def test_a_cubic_image_stays_within_the_range_of_its_own(edges) -> None:
    """Splines overshoot; a byte would turn from 250 to 2."""
    shift = sitk.TranslationTransform(3, (0.5, 0.5, 0.5))
    values = sitk.GetArrayFromImage(ulae.apply_transform(shift, edges, edges, interpolation="cubic"))[1:-1, 1:-1, 1:-1]
    assert (values.min(), values.max()) == (10, 250)


def test_an_unknown_interpolation_is_refused_in_a_sentence(edges) -> None:
    with pytest.raises(RegistrationError, match="choose one of linear, cubic, nearest"):
        ulae.apply_transform(sitk.Transform(3, sitk.sitkIdentity), edges, edges, interpolation="sinc")
