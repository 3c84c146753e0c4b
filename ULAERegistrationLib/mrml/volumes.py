"""Convert scalar volumes between MRML nodes and SimpleITK."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
import slicer.util
import vtk

from ..errors import RegistrationError
from .geometry import ijk_to_ras_matrix, with_geometry, world_matrix


def image_from_volume(
    volume: slicer.vtkMRMLVolumeNode, without: slicer.vtkMRMLTransformNode | None = None
) -> sitk.Image:
    """Convert a scalar volume to an image (LPS mm) at its place in the world, with linear parent transforms applied.

    Axes that are not quite at right angles are replaced by the nearest that are, as in files.

    Args:
        volume: the node.
        without: a transform that does not count where the volume lies under it, as its own result.

    Raises:
        RegistrationError: for a volume without voxels, several values per voxel, a non-linear parent transform, or a
            sheared grid.
    """
    name = volume.GetName()
    data = volume.GetImageData()
    if data is None or data.GetNumberOfPoints() == 0 or data.GetPointData().GetScalars() is None:
        raise RegistrationError(f"{name} has no voxels; choose another volume.")
    if data.GetNumberOfScalarComponents() != 1:
        raise RegistrationError(f"{name} has several values per voxel (colour or vectors); choose a grey-scale volume.")
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    image = sitk.GetImageFromArray(slicer.util.arrayFromVolume(volume))
    return with_geometry(image, world_matrix(volume, without) @ slicer.util.arrayFromVTKMatrix(matrix), name)


def set_volume(volume: slicer.vtkMRMLVolumeNode, image: sitk.Image) -> None:
    """Store an image in a volume node, and remove the node from its parent transform.

    Another volume with which the node has shared its voxels keeps them.
    """
    volume.SetAndObserveTransformNodeID(None)
    volume.SetAndObserveImageData(vtk.vtkImageData())
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ijk_to_ras_matrix(image)))
    # Copied, because SimpleITK's array views are valid only as long as their image.
    slicer.util.updateVolumeFromArray(volume, np.array(sitk.GetArrayViewFromImage(image)))


def share_volume(
    volume: slicer.vtkMRMLVolumeNode,
    other: slicer.vtkMRMLVolumeNode,
    without: slicer.vtkMRMLTransformNode | None = None,
) -> None:
    """Let a volume share the voxels of another, at that one's place in the world, without copying them.

    Args:
        volume: gets the voxels.
        other: has them.
        without: a transform that does not count where `other` lies under it, as its own result.
    """
    matrix = vtk.vtkMatrix4x4()
    other.GetIJKToRASMatrix(matrix)
    volume.SetIJKToRASMatrix(
        slicer.util.vtkMatrixFromArray(world_matrix(other, without) @ slicer.util.arrayFromVTKMatrix(matrix))
    )
    volume.SetAndObserveImageData(other.GetImageData())
