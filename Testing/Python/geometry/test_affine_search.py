"""The search for a linear map finds the true one, from several starts as from each of them alone."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.geometry.affine import to_matrix, to_transform
from ULAERegistrationLib.geometry.affine_search import CorrelationSearch


def uneven_image() -> sitk.Image:
    """An image without any symmetry, of voxels of 4 mm around zero."""
    z, y, x = np.meshgrid(*(np.arange(size) - size // 2 for size in (28, 32, 30)), indexing="ij")
    values = np.zeros(x.shape)
    for middle, width, height in (
        ((0, 0, 0), 6, 1.0),
        ((4, -5, 2), 3, 0.8),
        ((-5, 3, -4), 2, 0.6),
        ((1, 6, 5), 3, 0.4),
    ):
        distance = (x - middle[0]) ** 2 + (y - middle[1]) ** 2 + (z - middle[2]) ** 2
        values += height * np.exp(-distance / (2 * width**2))
    image = sitk.GetImageFromArray(values.astype(np.float32))
    image.SetSpacing((4.0, 4.0, 4.0))
    image.SetOrigin([-4.0 * (size // 2) for size in image.GetSize()])
    return image


def turned(*angles: float, shift: float = 0.0) -> np.ndarray:
    return to_matrix(sitk.Euler3DTransform((0.0, 0.0, 0.0), *np.deg2rad(angles).tolist(), (shift, -shift, shift)))


@pytest.fixture
def true_map() -> np.ndarray:
    return turned(8, -5, 12, shift=6)


@pytest.fixture
def search(true_map) -> CorrelationSearch:
    fixed = uneven_image()
    moving = sitk.Resample(uneven_image(), fixed, to_transform(np.linalg.inv(true_map)), sitk.sitkBSpline)
    domain = np.zeros(fixed.GetSize()[::-1], bool)
    domain[5:-5, 5:-5, 5:-5] = True
    return CorrelationSearch(fixed, sitk.Cast(2.0 * moving + 0.3, sitk.sitkFloat32), domain)


def distance(first: np.ndarray, second: np.ndarray) -> float:
    """The largest distance of two maps of the corners of a cube of 100 mm."""
    corners = np.array([[x, y, z, 1] for x in (-50, 50) for y in (-50, 50) for z in (-50, 50)]).T
    return float(np.linalg.norm(((first - second) @ corners)[:3], axis=0).max())


def test_the_true_map_is_found_whatever_gain_and_offset_the_intensities_have(search, true_map) -> None:
    found, reached = search.maximise(np.eye(4), "rigid", 20)
    assert reached > 0.999
    assert distance(found, true_map) < 0.3
    assert distance(np.eye(4), true_map) > 10


def test_several_starts_lead_where_each_leads_alone(search) -> None:
    starts = np.array([np.eye(4), turned(30, 0, 0), turned(0, 0, 170), turned(-20, 20, 0, shift=15)])
    together, reached = search.maximise_each(starts, "similarity", 12)
    for start, found, value in zip(starts, together, reached, strict=True):
        alone, alone_reached = search.maximise(start, "similarity", 12)
        assert distance(found, alone) < 1e-3
        assert value == pytest.approx(alone_reached, abs=1e-6)
    assert np.ptp(reached) > 0.02  # so that they do not all lead to one place


def test_no_start_ends_lower_than_it_begins(search) -> None:
    starts = np.array([turned(0, 0, angle, shift=shift) for angle in (0, 90, 180) for shift in (0, 40, 1000)])
    _, before = search.maximise_each(starts, "affine", 0)
    found, after = search.maximise_each(starts, "affine", 6)
    assert (after >= before).all()
    assert (after > before + 0.01).any()
    assert np.isfinite(found).all()
    assert before[2] == -1  # far outside, where all is constant


def test_a_rigid_search_stays_rigid(search) -> None:
    found, _ = search.maximise(turned(5, 0, 0), "rigid", 10)
    np.testing.assert_allclose(found[:3, :3] @ found[:3, :3].T, np.eye(3), atol=1e-9)
