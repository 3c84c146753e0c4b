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


@pytest.mark.parametrize("inverse", [False, True])
def test_a_point_that_is_not_finite_is_named(transform, points, inverse) -> None:
    with pytest.raises(RegistrationError, match=r"Point number 3 is not finite"):
        ulae.apply_transform_to_points(transform, np.insert(points, 2, np.nan, axis=0), inverse=inverse)


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


def test_a_cubic_image_with_a_voxel_that_is_no_number_is_refused(edges) -> None:
    """The spline would spread it over all others."""
    image = sitk.Cast(edges, sitk.sitkFloat32)
    image[3, 3, 3] = float("nan")
    with pytest.raises(RegistrationError, match="NaN or infinite, which cubic sampling spreads"):
        ulae.apply_transform(sitk.TranslationTransform(3), image, edges, interpolation="cubic")
    assert np.isnan(sitk.GetArrayFromImage(ulae.apply_transform(sitk.TranslationTransform(3), image, edges))).sum() == 1


def test_a_cubic_image_stays_within_the_range_of_its_own(edges) -> None:
    """Splines overshoot; a byte would turn from 250 to 2."""
    shift = sitk.TranslationTransform(3, (0.5, 0.5, 0.5))
    values = sitk.GetArrayFromImage(ulae.apply_transform(shift, edges, edges, interpolation="cubic"))[1:-1, 1:-1, 1:-1]
    assert (values.min(), values.max()) == (10, 250)


def ball(spacing: float, radius: float = 20.0) -> sitk.Image:
    """A ball of label 7 in a shell of label 1000, 4 mm thick, about the origin."""
    size = round(60 / spacing)
    middle = spacing * (size - 1) / 2
    distance = np.linalg.norm(np.stack(np.indices([size] * 3)) * spacing - middle, axis=0)
    labels = sitk.GetImageFromArray(np.select([distance < radius, distance < radius + 4], [7, 1000]).astype(np.int16))
    labels.SetSpacing([spacing] * 3)
    labels.SetOrigin([-middle] * 3)
    return labels


def labels_on_finer_grid(transform: sitk.Transform, **how) -> np.ndarray:
    return sitk.GetArrayFromImage(ulae.apply_transform(transform, ball(3.0), ball(1.0), labels=True, **how))


def test_labels_sampled_linearly_are_those_with_the_largest_share_of_a_linear_sampling_of_each() -> None:
    turn, values = sitk.Euler3DTransform((0, 0, 0), 0.1, -0.2, 0.3, (1.0, -0.7, 0.4)), np.array([0, 7, 1000])
    each = [
        sitk.Resample(ball(3.0) == int(value), ball(1.0), turn, sitk.sitkLinear, 0.0, sitk.sitkFloat64)
        for value in values
    ]
    shares = np.stack([sitk.GetArrayFromImage(share) for share in each])
    most, second = np.sort(shares, axis=0)[:-3:-1]
    clear = most > second + 1e-6  # beyond the label map there is no share of any
    assert clear.mean() > 0.7
    assert np.array_equal(
        labels_on_finer_grid(turn, interpolation="linear")[clear], values[shares.argmax(axis=0)][clear]
    )


def test_linear_labels_on_a_finer_grid_are_nearer_to_the_truth_than_nearest_ones() -> None:
    same, true = sitk.Transform(3, sitk.sitkIdentity), sitk.GetArrayFromImage(ball(1.0))
    nearest, linear = labels_on_finer_grid(same), labels_on_finer_grid(same, interpolation="linear")
    assert np.array_equal(nearest, labels_on_finer_grid(same, interpolation="nearest"))
    assert (linear != true).sum() < 0.8 * (nearest != true).sum()


def test_an_interpolation_that_there_is_not_is_refused_in_a_sentence(edges) -> None:
    same = sitk.Transform(3, sitk.sitkIdentity)
    with pytest.raises(RegistrationError, match="choose one of linear, cubic, nearest"):
        ulae.apply_transform(same, edges, edges, interpolation="sinc")
    with pytest.raises(RegistrationError, match="of a label map is not known; choose one of nearest, linear"):
        ulae.apply_transform(same, edges, edges, labels=True, interpolation="cubic")


@pytest.mark.parametrize("away", [0.0, 80.0])
def test_a_b_spline_which_has_no_inverse_of_its_own_is_inverted_wherever_the_moving_image_lies(edges, away) -> None:
    spline = sitk.BSplineTransformInitializer(edges, [4, 4, 4])
    spline.SetParameters([1.5] * len(spline.GetParameters()))  # moves everything within by 1.5 mm, and nothing beyond
    moving = sitk.Image(edges)
    moving.SetOrigin([away] * 3)
    to_moving = sitk.CompositeTransform([sitk.TranslationTransform(3, [away] * 3), spline]) if away else spline
    back = sitk.GetArrayFromImage(ulae.apply_transform(to_moving, edges, moving, inverse=True)).astype(float)
    shift = sitk.TranslationTransform(3, [-1.5] * 3)
    shifted = sitk.Resample(edges, edges, shift, sitk.sitkLinear, 0.0, sitk.sitkFloat64)
    inner = (slice(6, -6),) * 3
    assert np.abs(back - sitk.GetArrayFromImage(shifted))[inner].max() < 2


@pytest.mark.parametrize("shift", [12.0, -20.0])
def test_what_a_b_spline_moves_by_nearly_its_own_size_comes_back_to_where_it_was(edges, shift) -> None:
    """The images' values are the places of their voxels, so that they tell where each voxel was taken from."""
    spline = sitk.BSplineTransformInitializer(edges, [4, 4, 4])
    bends = np.random.default_rng(0).uniform(-2, 2, len(spline.GetParameters()))
    spline.SetParameters((shift + bends).tolist())
    moving = sitk.Image(edges)
    moving.SetOrigin([shift] * 3)
    places = sitk.PhysicalPointSource(sitk.sitkVectorFloat32, edges.GetSize())
    axes = [sitk.VectorIndexSelectionCast(places, axis) for axis in range(3)]
    back = [sitk.GetArrayFromImage(ulae.apply_transform(spline, axis, moving, inverse=True)) for axis in axes]
    inner = (slice(5, -5),) * 3
    sources = np.stack([values[inner] for values in back], axis=-1).reshape(-1, 3).astype(float)
    z, y, x = (index[inner].ravel() + shift for index in np.indices((24, 24, 24)))
    targets = np.column_stack([x, y, z])
    assert np.abs(ulae.apply_transform_to_points(spline, sources, inverse=True) - targets).max() < 0.1
    assert np.abs(ulae.apply_transform_to_points(spline, targets) - sources).max() < 0.1
