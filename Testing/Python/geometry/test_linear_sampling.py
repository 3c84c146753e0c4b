"""An image sampled under linear maps is what SimpleITK samples, on an oblique, anisotropic, left-handed image."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.geometry.affine import index_to_world, to_transform
from ULAERegistrationLib.geometry.linear_sampling import LinearSampler


@pytest.fixture
def image() -> sitk.Image:
    values = np.random.default_rng(0).normal(5, 1, (9, 11, 8)).astype(np.float32)
    image = sitk.GetImageFromArray(values)
    turn = sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.4, -0.3, 0.9)
    mirrored = np.reshape(turn.GetMatrix(), (3, 3)) @ np.diag((1.0, -1.0, 1.0))
    assert np.linalg.det(mirrored) < 0
    image.SetDirection(mirrored.ravel().tolist())
    image.SetSpacing((1.2, 0.7, 2.5))
    image.SetOrigin((-20.0, 13.0, 7.0))
    return image


@pytest.fixture
def maps() -> np.ndarray:
    rng = np.random.default_rng(1)
    maps = np.tile(np.eye(4), (5, 1, 1))
    maps[:, :3] += rng.normal(0, 0.05, (5, 3, 4))
    return maps


def points_inside(image: sitk.Image, count: int = 200) -> np.ndarray:
    """Points, [4, n], that stay within the outermost voxels of the image under the maps."""
    size = np.array(image.GetSize())[:, None]
    voxels = np.random.default_rng(2).uniform(0.4, 0.6, (3, count)) * (size - 1)
    return index_to_world(image) @ np.vstack([voxels, np.ones(count)])


def by_simpleitk(image: sitk.Image, map_: np.ndarray, points: np.ndarray) -> list[float]:
    transform = to_transform(map_)
    return [
        image.EvaluateAtPhysicalPoint(transform.TransformPoint(point.tolist()), sitk.sitkLinear)
        for point in points[:3].T
    ]


def test_each_map_samples_as_simpleitk_does(image, maps) -> None:
    points = points_inside(image)
    found = LinearSampler(image, points).under(maps)
    assert found.shape == (5, 200)
    assert np.ptp(found) > 1
    for values, map_ in zip(found, maps, strict=True):
        np.testing.assert_allclose(values, by_simpleitk(image, map_, points), atol=1e-4)


def test_the_outermost_voxels_have_their_own_values(image) -> None:
    last = np.array(image.GetSize()) - 1
    corners = np.array([[x, y, z, 1] for x in (0, last[0]) for y in (0, last[1]) for z in (0, last[2])], float).T
    found = LinearSampler(image, index_to_world(image) @ corners).under(np.eye(4)[None])[0]
    expected = [image[tuple(int(index) for index in corner[:3])] for corner in corners.T]
    np.testing.assert_allclose(found, expected, atol=1e-3)


def test_beyond_the_image_the_values_fade_to_zero_within_a_voxel(image) -> None:
    size = np.array(image.GetSize())
    middle = (size - 1) / 2
    for axis in range(3):
        for end, outwards in ((0, -1), (size[axis] - 1, 1)):
            places = np.tile([*middle, 1.0], (4, 1)).T
            places[axis] = end + outwards * np.array([0.0, 0.5, 1.0, 1e4])
            border, half, none, far = LinearSampler(image, index_to_world(image) @ places).under(np.eye(4)[None])[0]
            assert border > 1
            assert half == pytest.approx(border / 2, abs=1e-3)
            assert none == pytest.approx(0, abs=1e-3)
            assert far == 0
