"""Linear maps as 4 x 4 matrices on points in mm, and as SimpleITK's transforms."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk


def to_matrix(transform: sitk.Transform) -> np.ndarray:
    """A linear transform as a 4 x 4 matrix."""
    matrix = np.eye(4)
    for axis in range(3):
        matrix[:3, axis] = transform.TransformVector(np.eye(3)[axis].tolist(), (0.0, 0.0, 0.0))
    matrix[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    return matrix


def to_transform(matrix: np.ndarray) -> sitk.AffineTransform:
    """A 4 x 4 matrix as an affine transform."""
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].ravel())
    transform.SetTranslation(matrix[:3, 3].tolist())
    return transform
