"""Convert linear maps of points (mm) between 4 x 4 matrices and SimpleITK's transforms."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk


def to_matrix(transform: sitk.Transform) -> np.ndarray:
    """Return the 4 x 4 matrix of a linear transform."""
    matrix = np.eye(4)
    for axis in range(3):
        matrix[:3, axis] = transform.TransformVector(np.eye(3)[axis].tolist(), (0.0, 0.0, 0.0))
    matrix[:3, 3] = transform.TransformPoint((0.0, 0.0, 0.0))
    return matrix


def to_transform(matrix: np.ndarray) -> sitk.AffineTransform:
    """Return the affine transform of a 4 x 4 matrix."""
    transform = sitk.AffineTransform(3)
    transform.SetMatrix(matrix[:3, :3].ravel())
    transform.SetTranslation(matrix[:3, 3].tolist())
    return transform
