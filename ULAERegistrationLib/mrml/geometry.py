"""Positions of MRML nodes in the world, and of SimpleITK images.

MRML uses RAS millimetres, the library LPS millimetres; of nodes, only this package converts between them.

Code here takes a scene from a node, never from the application.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
import slicer.util
import vtk

from ..errors import RegistrationError
from ..geometry.orientation import check_shear, straightened

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])  # its own inverse

RESAMPLE_IN_SLICER = (
    "resample it to an ordinary grid first, with the module Resample Scalar/Vector/DWI Volume, or look at its parent "
    "transform"
)


def world_matrix(
    node: slicer.vtkMRMLTransformableNode, without: slicer.vtkMRMLTransformNode | None = None
) -> np.ndarray:
    """Return the linear transform that a node lies under, from its own RAS to the world's RAS (mm), 4 x 4.

    Args:
        node: any that a transform can move.
        without: a transform that does not count where the node lies directly under it.

    Raises:
        RegistrationError: where the node lies under a transform that is not linear.
    """
    matrix = vtk.vtkMatrix4x4()
    parent = node.GetParentTransformNode()
    if parent is without:
        parent = None
    if parent is not None and not parent.IsTransformToWorldLinear():
        raise RegistrationError(
            f"{node.GetName()} lies under the non-linear transform {parent.GetName()}; harden it or take it away first."
        )
    if parent is not None:
        parent.GetMatrixTransformToWorld(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def with_geometry(image: sitk.Image, ijk_to_ras: np.ndarray, name: str) -> sitk.Image:
    """Give an image its spacing, direction and origin (LPS mm), with axes at right angles.

    Args:
        image: the image, which is changed.
        ijk_to_ras: 4 x 4 matrix from voxel indices to RAS, mm.
        name: of the image, for the message.

    Returns:
        The image, or, where its axes are not quite at right angles, a copy with the nearest that are.

    Raises:
        RegistrationError: for a sheared grid.
    """
    axes = RAS_TO_LPS @ ijk_to_ras[:3, :3]
    check_shear(axes, name, RESAMPLE_IN_SLICER)
    spacing = np.linalg.norm(axes, axis=0)
    image.SetSpacing(spacing.tolist())
    image.SetDirection((axes / spacing).ravel().tolist())
    image.SetOrigin((RAS_TO_LPS @ ijk_to_ras[:3, 3]).tolist())
    return straightened(image, name)


def ijk_to_ras_matrix(image: sitk.Image) -> np.ndarray:
    """Return the 4 x 4 matrix from an image's voxel indices to RAS (mm)."""
    matrix = np.eye(4)
    direction = np.reshape(image.GetDirection(), (3, 3))
    matrix[:3, :3] = RAS_TO_LPS @ direction @ np.diag(image.GetSpacing())
    matrix[:3, 3] = RAS_TO_LPS @ image.GetOrigin()
    return matrix
