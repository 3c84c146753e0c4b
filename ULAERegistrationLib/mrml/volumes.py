"""Scalar volumes between MRML nodes and SimpleITK."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
import slicer.util
import vtk

from ..errors import RegistrationError
from .geometry import ijk_to_ras_matrix, set_geometry, world_matrix


def image_from_volume(volume: slicer.vtkMRMLVolumeNode) -> sitk.Image:
    """A scalar volume where it lies in the world, its linear parent transforms included.

    Raises:
        RegistrationError: no voxels, several values per voxel, a non-linear parent, or a grid that is sheared.
    """
    name = volume.GetName()
    data = volume.GetImageData()
    if data is None or data.GetNumberOfPoints() == 0:
        raise RegistrationError(f"{name} has no voxels; choose another volume.")
    if data.GetNumberOfScalarComponents() != 1:
        raise RegistrationError(f"{name} has several values per voxel (colour or vectors); choose a grey-scale volume.")
    matrix = vtk.vtkMatrix4x4()
    volume.GetIJKToRASMatrix(matrix)
    image = sitk.GetImageFromArray(slicer.util.arrayFromVolume(volume))
    set_geometry(image, world_matrix(volume) @ slicer.util.arrayFromVTKMatrix(matrix), name)
    return image


def set_volume(volume: slicer.vtkMRMLVolumeNode, image: sitk.Image) -> None:
    """Puts an image into a volume node, in the world: the node's parent transform is taken away."""
    volume.SetAndObserveTransformNodeID(None)
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(ijk_to_ras_matrix(image)))
    # A new array: arrays of SimpleITK are views that end with their image.
    slicer.util.updateVolumeFromArray(volume, np.array(sitk.GetArrayViewFromImage(image)))


def share_volume(volume: slicer.vtkMRMLVolumeNode, other: slicer.vtkMRMLVolumeNode) -> None:
    """Makes a volume show the voxels of another where that one lies in the world; the voxels are not copied."""
    matrix = vtk.vtkMatrix4x4()
    other.GetIJKToRASMatrix(matrix)
    volume.SetIJKToRASMatrix(
        slicer.util.vtkMatrixFromArray(world_matrix(other) @ slicer.util.arrayFromVTKMatrix(matrix))
    )
    volume.SetAndObserveImageData(other.GetImageData())
