"""What the tests of reading share: a small scan that lies as awkwardly as scanners make them."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk

SIZE = (9, 11, 12)
OBLIQUE = sitk.Euler3DTransform((0, 0, 0), 0.2, -0.1, 0.3).GetMatrix()


@pytest.fixture
def values() -> np.ndarray:
    """Random voxels, in nibabel's order x, y, z."""
    return np.random.default_rng(0).normal(100, 20, SIZE).astype(np.float32)


@pytest.fixture
def affine() -> np.ndarray:
    """An oblique, left-handed place far from the origin, voxels to RAS mm."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(OBLIQUE, (3, 3)) @ np.diag([-1.25, 1.5, 2.0])
    matrix[:3, 3] = (-90.125, 126.5, -72.25)
    return matrix


@pytest.fixture
def image(values) -> sitk.Image:
    made = sitk.GetImageFromArray(values.transpose(2, 1, 0))
    made.SetSpacing((1.25, 1.5, 2.0))
    made.SetOrigin((-70.5, 33.25, 100.0))
    return made
