"""Two contrasts of one brain are aligned by their self-similarity, where their correlation misleads."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.geometry.affine import to_matrix
from ULAERegistrationLib.geometry.affine_search import CorrelationSearch
from ULAERegistrationLib.geometry.canonical import template, template_mask
from ULAERegistrationLib.geometry.self_similarity_search import SelfSimilaritySearch

TURN = to_matrix(sitk.Euler3DTransform((0.0, 0.0, 0.0), 0.03, -0.02, 0.04, (1.0, -2.0, 1.5)))
STRETCH = TURN @ np.diag([1.02, 0.98, 1.01, 1.0])


@pytest.fixture(scope="module")
def brain() -> sitk.Image:
    image = sitk.Cast(sitk.BinShrink(template(), [2, 2, 2]) / 255, sitk.sitkFloat32)
    image.SetOrigin([-(size - 1.0) for size in image.GetSize()])
    return image


@pytest.fixture(scope="module")
def inside() -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.Shrink(sitk.BinaryErode(template_mask(), [8, 8, 8]), [2, 2, 2])) > 0


def in_another_contrast(brain: sitk.Image) -> sitk.Image:
    """Bright fluid, dark white matter, and a coil on one side."""
    values = sitk.GetArrayFromImage(brain)
    shading = np.linspace(0.6, 1.2, values.shape[2])
    noise = 0.02 * np.random.default_rng(3).standard_normal(values.shape)
    image = sitk.GetImageFromArray((np.where(values > 0.05, (1.05 - values) * shading, 0) + noise).astype(np.float32))
    image.CopyInformation(brain)
    return image


def moved(image: sitk.Image, fixed_to_moving: np.ndarray) -> sitk.Image:
    """The image whose points lie where the map takes those of `image`."""
    back = sitk.AffineTransform(3)
    inverse = np.linalg.inv(fixed_to_moving)
    back.SetMatrix(inverse[:3, :3].ravel().tolist())
    back.SetTranslation(inverse[:3, 3].tolist())
    return sitk.Resample(image, image, back, sitk.sitkLinear, 0.0)


def error_mm(found: np.ndarray, truth: np.ndarray) -> float:
    corners = np.array([[x, y, z, 1] for x in (-60, 60) for y in (-70, 70) for z in (-50, 50)]).T
    return float(np.linalg.norm(((found - truth) @ corners)[:3], axis=0).max())


@pytest.mark.parametrize(("freedom", "truth"), [("rigid", TURN), ("affine", STRETCH)])
def test_the_map_between_two_contrasts_is_found(brain, inside, freedom, truth):
    other = moved(in_another_contrast(brain), truth)
    found, reached = SelfSimilaritySearch(brain, other, inside).maximise(np.eye(4), freedom, 15)
    assert error_mm(np.eye(4), truth) > 5
    assert error_mm(found, truth) < 0.3
    assert reached > SelfSimilaritySearch(brain, other, inside).maximise(np.eye(4), freedom, 0)[1]
    by_correlation, _ = CorrelationSearch(brain, other, inside).maximise(np.eye(4), freedom, 15)
    assert error_mm(by_correlation, truth) > 1


def test_an_image_on_itself_stays_where_it_is(brain, inside):
    found, reached = SelfSimilaritySearch(brain, brain, inside).maximise(np.eye(4), "affine", 5)
    assert np.array_equal(found, np.eye(4))
    assert reached == 0
