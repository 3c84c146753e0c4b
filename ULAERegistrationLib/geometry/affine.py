"""Linear maps of points (mm): as 4 x 4 matrices, as SimpleITK's transforms, and fitted to displacement fields."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from ..errors import RegistrationError


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


def has_inverse(matrix: np.ndarray) -> bool:
    """Tell whether a 4 x 4 matrix is finite and maps space to space, not to a plane."""
    return bool(np.isfinite(matrix).all() and np.linalg.matrix_rank(matrix[:3, :3]) == 3)


def inverse_of_linear(transform: sitk.Transform) -> sitk.Transform:
    """Return the inverse of a linear transform.

    Raises:
        RegistrationError: where it has none.
    """
    matrix = to_matrix(transform)
    if not has_inverse(matrix):
        raise RegistrationError(
            "The transform, or a part of it, maps space to a plane, so that it has no inverse; give another transform."
        )
    try:
        return transform.GetInverse()
    except RuntimeError:  # of a class whose inverse is of another one, such as ScaleVersor3DTransform
        return to_transform(np.linalg.inv(matrix))


def middle(image: sitk.Image) -> np.ndarray:
    """Return the point in the middle of an image's grid, LPS mm."""
    return np.array(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()]))


def index_to_world(image: sitk.Image) -> np.ndarray:
    """Return the matrix, 4 x 4, from an image's voxels (x, y, z) to its world (LPS mm)."""
    matrix = np.eye(4)
    matrix[:3, :3] = np.reshape(image.GetDirection(), (3, 3)) * image.GetSpacing()
    matrix[:3, 3] = image.GetOrigin()
    return matrix


def voxel_centres(grid: sitk.Image) -> np.ndarray:
    """Return the world coordinates of an image's voxels, float64 [z, y, x, 3], LPS mm."""
    step = np.reshape(grid.GetDirection(), (3, 3)) * grid.GetSpacing()
    z, y, x = np.indices(grid.GetSize()[::-1])
    return np.stack([x, y, z], axis=-1) @ step.T + grid.GetOrigin()


def fitted_affine(field: sitk.Image) -> sitk.AffineTransform:
    """Fit an affine transform to a displacement field (LPS mm), by least squares over about 32 voxels along each axis.

    The transform maps p to about p + field(p).
    """
    steps = [max(1, size // 32) for size in field.GetSize()]
    coarse = field[:: steps[0], :: steps[1], :: steps[2]]
    points = voxel_centres(coarse).reshape(-1, 3)
    displacements = sitk.GetArrayViewFromImage(coarse).reshape(-1, 3)
    centre = points.mean(axis=0)
    # Not the targets: along an axis of one voxel, of which the field tells nothing, nothing is displaced then.
    solution = np.linalg.lstsq(np.column_stack([points - centre, np.ones(len(points))]), displacements, rcond=None)[0]
    matrix = np.eye(4)
    matrix[:3, :3] += solution[:3].T
    matrix[:3, 3] = solution[3] - solution[:3].T @ centre
    return to_transform(matrix)
