"""Masks, label maps and segmentations between MRML nodes and SimpleITK."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
import slicer.util
import vtk
from vtk.util import numpy_support

from ..errors import RegistrationError
from ..geometry.resampling import resample
from .geometry import ijk_to_ras_matrix, with_geometry, world_matrix
from .volumes import image_from_volume

LABELMAP = "Binary labelmap"  # vtkSegmentationConverter's name of that representation
# What segmentations hold their labels in, the narrowest first; a segment's label value is a C++ int.
LABEL_TYPES = (
    (np.dtype(np.uint8), vtk.VTK_UNSIGNED_CHAR),
    (np.dtype(np.int16), vtk.VTK_SHORT),
    (np.dtype(np.int32), vtk.VTK_INT),
)


def oriented_image(image: sitk.Image) -> slicer.vtkOrientedImageData:
    """Convert a label image (LPS mm) to what segmentations hold, in the world (RAS mm).

    Raises:
        RegistrationError: for labels of more than 31 bits.
    """
    data = slicer.vtkOrientedImageData()
    data.SetDimensions(*image.GetSize())
    values, kind = _as_labels(sitk.GetArrayViewFromImage(image))
    data.GetPointData().SetScalars(numpy_support.numpy_to_vtk(values.ravel(), deep=True, array_type=kind))
    data.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(ijk_to_ras_matrix(image)))
    return data


def set_segmentation_from_mask(node: slicer.vtkMRMLSegmentationNode, mask: sitk.Image, name: str) -> None:
    """Make a mask the only segment of a segmentation node, where the mask lies in the world.

    Args:
        node: what it held before is taken out; a linear parent transform stays.
        mask: what is not zero is the segment.
        name: of the segment.

    Raises:
        RegistrationError: where the node lies under a transform that is not linear.
    """
    data = oriented_image(sitk.Cast(mask != 0, sitk.sitkUInt8))
    placed = np.linalg.inv(world_matrix(node)) @ ijk_to_ras_matrix(mask)
    data.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(placed))
    segmentation = node.GetSegmentation()
    segmentation.RemoveAllSegments()
    segmentation.SetSourceRepresentationName(LABELMAP)
    segment = slicer.vtkSegment()
    segment.SetName(name)
    segment.AddRepresentation(LABELMAP, data)
    segmentation.AddSegment(segment, name)


def _as_labels(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Return labels in the narrowest of `LABEL_TYPES` that holds all of them, and VTK's number of that type."""
    lowest, highest = (values.min(), values.max()) if values.size else (0, 0)
    for dtype, kind in LABEL_TYPES:
        if np.iinfo(dtype).min <= lowest and highest <= np.iinfo(dtype).max:
            return np.ascontiguousarray(values, dtype), kind
    raise RegistrationError(f"The labels reach from {lowest} to {highest}; Slicer keeps numbers up to 2147483647.")


def image_from_oriented(data: slicer.vtkOrientedImageData, parent: np.ndarray, name: str) -> sitk.Image:
    """Convert one layer of a segmentation to an image in the world (LPS mm).

    Args:
        data: the layer; it may be cropped.
        parent: 4 x 4, from the segmentation's own RAS to the world's RAS (mm).
        name: of the node, for the messages.

    Raises:
        RegistrationError: for a sheared grid, or labels of more than 31 bits.
    """
    matrix = vtk.vtkMatrix4x4()
    data.GetImageToWorldMatrix(matrix)
    extent = data.GetExtent()
    start = np.eye(4)
    start[:3, 3] = extent[::2]  # the first voxel of a cropped layer is not (0, 0, 0)
    values = numpy_support.vtk_to_numpy(data.GetPointData().GetScalars())
    image = sitk.GetImageFromArray(_as_labels(values.reshape(data.GetDimensions()[::-1]))[0])
    return with_geometry(image, parent @ slicer.util.arrayFromVTKMatrix(matrix) @ start, name)


def mask_image(node: slicer.vtkMRMLDisplayableNode, like: sitk.Image) -> sitk.Image:
    """Mask what a segmentation (all its segments) or a label map covers, on the grid of `like`.

    Returns:
        uint8 image of zeros and ones.

    Raises:
        RegistrationError: for a node without anything drawn, or whose place in the world cannot be stored in an image.
    """
    total = sitk.Image(like.GetSize(), sitk.sitkUInt8)
    total.CopyInformation(like)
    layers = (
        layer_images(labelmap_segmentation(node), node).values()
        if node.IsA("vtkMRMLSegmentationNode")
        else [image_from_volume(node)]
    )
    for layer in layers:
        total = sitk.Or(total, sitk.Cast(resample_labels(layer, like) != 0, sitk.sitkUInt8))
    return total


def label_layers(node: slicer.vtkMRMLDisplayableNode, like: sitk.Image) -> list[tuple[np.ndarray, dict[str, int]]]:
    """Sample the labels of a segmentation (by segment name) or of a label map (by number) on the grid of `like`.

    Returns:
        Label arrays, in `like`'s (z, y, x), each with its labels' names and values. Segments that overlap lie in
        different ones.

    Raises:
        RegistrationError: as for `mask_image`.
    """
    if not node.IsA("vtkMRMLSegmentationNode"):
        values = sitk.GetArrayFromImage(resample_labels(image_from_volume(node), like)).astype(np.int32)
        return [(values, {str(label): label for label in np.unique(values[values != 0]).tolist()})]
    segmentation = labelmap_segmentation(node)
    layers = []
    for index, layer in layer_images(segmentation, node).items():
        segments = map(segmentation.GetSegment, segmentation.GetSegmentIDsForLayer(index, LABELMAP))
        names = {segment.GetName(): segment.GetLabelValue() for segment in segments}
        layers.append((sitk.GetArrayFromImage(resample_labels(layer, like)).astype(np.int32), names))
    return layers


def labelmap_segmentation(node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkSegmentation:
    """Return a node's segments with label maps; the node itself is left as it is.

    Raises:
        RegistrationError: for a node without segments, or whose segments cannot be turned into label maps.
    """
    segmentation = node.GetSegmentation()
    if segmentation.GetNumberOfSegments() == 0:
        raise RegistrationError(f"{node.GetName()} has no segments; draw one or choose another segmentation.")
    if segmentation.ContainsRepresentation(LABELMAP):
        return segmentation
    copy = slicer.vtkSegmentation()
    copy.DeepCopy(segmentation)
    if not copy.CreateRepresentation(LABELMAP):
        raise RegistrationError(f"{node.GetName()} cannot be turned into a label map; check its segments.")
    return copy


def layer_images(segmentation: slicer.vtkSegmentation, node: slicer.vtkMRMLSegmentationNode) -> dict[int, sitk.Image]:
    """Convert the layers of a segmentation to label images in the world (LPS mm), by the numbers of the layers.

    A segment in which nothing was drawn may have a layer of its own without voxels, which is left out.

    Raises:
        RegistrationError: where there is no other layer, and as `image_from_oriented` raises it.
    """
    parent = world_matrix(node)
    layers = range(segmentation.GetNumberOfLayers(LABELMAP))
    data = {index: segmentation.GetLayerDataObject(index, LABELMAP) for index in layers}
    drawn = {index: one for index, one in data.items() if has_voxels(one)}
    if not drawn:
        raise RegistrationError(f"Nothing is drawn in {node.GetName()}; draw a segment or choose another segmentation.")
    return {index: image_from_oriented(one, parent, node.GetName()) for index, one in drawn.items()}


def has_voxels(data: slicer.vtkOrientedImageData) -> bool:
    """Tell whether anything was ever drawn in a layer of a segmentation."""
    return data.GetNumberOfPoints() > 0 and data.GetPointData().GetScalars() is not None


def resample_labels(image: sitk.Image, like: sitk.Image, transform: sitk.Transform | None = None) -> sitk.Image:
    """Resample a label image to the grid of `like` by a transform from its points to those of `image` (LPS mm)."""
    return resample(image, like, transform or sitk.Transform(3, sitk.sitkIdentity), labels=True)
