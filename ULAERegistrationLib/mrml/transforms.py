"""Convert transforms between MRML nodes and SimpleITK."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
import slicer.util
import vtk
from vtk.util import numpy_support

from ..errors import RegistrationError
from ..geometry.resampling import resample
from ..geometry.transforms import field_transform
from .geometry import RAS_TO_LPS


def start_transform(node: slicer.vtkMRMLTransformNode, moving: slicer.vtkMRMLVolumeNode) -> sitk.AffineTransform:
    """Convert a linear transform node to the initial transform of a registration, fixed world -> moving world (LPS mm).

    In Slicer a transform moves the moving volume to the fixed one, so this is the node's transform from the world.
    Where the moving volume lies under the node already, its place in the world is where it shall start, so that this is
    the identity.

    Raises:
        RegistrationError: where the transform is not linear, or has no inverse.
    """
    if not node.IsTransformToWorldLinear():
        raise RegistrationError(f"{node.GetName()} is not linear; choose a linear transform to start from.")
    matrix = vtk.vtkMatrix4x4()
    node.GetMatrixTransformToWorld(matrix)
    to_world = slicer.util.arrayFromVTKMatrix(matrix)
    if not (np.isfinite(to_world).all() and np.linalg.det(to_world)):  # VTK takes the identity for its inverse
        raise RegistrationError(f"{node.GetName()} has no inverse; choose another transform to start from.")
    parent = moving.GetParentTransformNode()
    while parent is not None:
        if parent is node:
            return sitk.AffineTransform(3)
        parent = parent.GetParentTransformNode()
    node.GetMatrixTransformFromWorld(matrix)
    from_world = slicer.util.arrayFromVTKMatrix(matrix)
    transform = sitk.AffineTransform(3)
    transform.SetMatrix((RAS_TO_LPS @ from_world[:3, :3] @ RAS_TO_LPS).ravel().tolist())
    transform.SetTranslation((RAS_TO_LPS @ from_world[:3, 3]).tolist())
    return transform


def grid_transform(field: sitk.Image) -> slicer.vtkOrientedGridTransform:
    """Convert a displacement field to Slicer's grid transform, to be stored from-parent (fixed -> moving).

    Args:
        field: displacement vectors, LPS mm.
    """
    data = vtk.vtkImageData()
    data.SetDimensions(*field.GetSize())
    data.SetSpacing(*field.GetSpacing())
    data.SetOrigin(*(RAS_TO_LPS @ field.GetOrigin()))
    data.AllocateScalars(vtk.VTK_FLOAT, 3)
    # Straight into the new node's memory, because a field is large.
    vectors = numpy_support.vtk_to_numpy(data.GetPointData().GetScalars())
    vectors[:] = sitk.GetArrayViewFromImage(field).reshape(-1, 3)
    vectors[:, :2] *= -1  # LPS to RAS
    direction = np.eye(4)
    direction[:3, :3] = RAS_TO_LPS @ np.reshape(field.GetDirection(), (3, 3))
    grid = slicer.vtkOrientedGridTransform()
    grid.SetGridDirectionMatrix(slicer.util.vtkMatrixFromArray(direction))
    grid.SetDisplacementGridData(data)
    grid.SetInterpolationModeToLinear()  # as ITK interpolates, so that Slicer applies the map that was measured
    return grid


def field_from_node(node: slicer.vtkMRMLGridTransformNode) -> sitk.Image:
    """Return the displacement field (vectors in LPS mm) of a grid transform node that is stored from-parent.

    Raises:
        RegistrationError: where the node holds no such field, or was inverted.
    """
    kind = ("vtkOrientedGridTransform", False, False)
    grid, other = node.GetTransformFromParentAs(*kind), node.GetTransformToParentAs(*kind)
    if other is not None and other.GetDisplacementGrid() is not None and not other.GetInverseFlag():
        raise RegistrationError(f"{node.GetName()} was inverted; invert it once more in the module Transforms first.")
    data = grid.GetDisplacementGrid() if grid is not None else None
    if data is None or data.GetPointData().GetScalars() is None or grid.GetGridDirectionMatrix() is None:
        raise RegistrationError(f"{node.GetName()} holds no displacement field; choose the result of a registration.")
    values = numpy_support.vtk_to_numpy(data.GetPointData().GetScalars())
    vectors = values.reshape(*data.GetDimensions()[::-1], 3) * np.array([-1, -1, 1], np.float32)
    field = sitk.GetImageFromArray(vectors, isVector=True)
    direction = slicer.util.arrayFromVTKMatrix(grid.GetGridDirectionMatrix())[:3, :3]
    field.SetSpacing(data.GetSpacing())
    field.SetOrigin((RAS_TO_LPS @ data.GetOrigin()).tolist())
    field.SetDirection((RAS_TO_LPS @ direction).ravel().tolist())
    return field


def no_displacement(like: sitk.Image) -> sitk.Image:
    """Create a zero displacement field on the grid of `like`."""
    field = sitk.Image(like.GetSize(), sitk.sitkVectorFloat32)
    field.CopyInformation(like)
    return field


def jacobian_determinant(field: sitk.Image) -> sitk.Image:
    """Compute the Jacobian determinant of the map p + field(p) at each voxel: 1 keeps volume, 0 or less folds.

    Args:
        field: displacement vectors, LPS mm.

    Returns:
        float32 image on the field's grid.
    """
    # ITK's filter differentiates along the grid's axes, so the vectors have to be expressed along these axes too.
    direction = np.reshape(field.GetDirection(), (3, 3)).astype(np.float32)
    along_axes = sitk.GetImageFromArray(sitk.GetArrayViewFromImage(field) @ direction, isVector=True)
    along_axes.SetSpacing(field.GetSpacing())
    determinant = sitk.DisplacementFieldJacobianDeterminant(along_axes)
    determinant.CopyInformation(field)
    return sitk.Cast(determinant, sitk.sitkFloat32)


def warped_through(image: sitk.Image, like: sitk.Image, field: sitk.Image) -> sitk.Image:
    """Sample an image once on the grid of `like` through a displacement field (LPS mm), as float32."""
    return resample(sitk.Cast(image, sitk.sitkFloat32), like, field_transform(field))


def set_transform(
    node: slicer.vtkMRMLTransformNode,
    grid: slicer.vtkOrientedGridTransform,
    fixed: slicer.vtkMRMLNode | None,
    moving: slicer.vtkMRMLNode | None,
) -> None:
    """Store a result in a transform node, outside any parent transform.

    The node's references to the fixed and the moving volume let other modules find them.
    """
    node.SetAndObserveTransformNodeID(None)
    node.SetAndObserveTransformFromParent(grid)
    node.SetNodeReferenceID(node.GetFixedNodeReferenceRole(), fixed.GetID() if fixed else None)
    node.SetNodeReferenceID(node.GetMovingNodeReferenceRole(), moving.GetID() if moving else None)
