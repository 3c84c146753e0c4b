"""Carry other nodes of the moving image along to the fixed image."""

from __future__ import annotations

import SimpleITK as sitk
import slicer.util
import vtk

from ..errors import RegistrationError
from ..geometry.resampling import resample
from .geometry import world_matrix
from .labels import LABELMAP, labelmap_segmentation, layer_images, oriented_image, resample_labels
from .volumes import image_from_volume, set_volume


def carried_along(
    node: slicer.vtkMRMLTransformableNode,
    transform: sitk.Transform,
    grid: slicer.vtkOrientedGridTransform,
    like: sitk.Image,
) -> slicer.vtkMRMLTransformableNode:
    """A copy of something that belongs to the moving image, carried to the fixed image; not in any scene yet.

    Volumes and label maps are sampled once on the fixed grid. So is each layer of a segmentation: Slicer's hardening
    clips segmentations on oblique grids. Markups and models go through the inverse, which VTK finds point by point.

    Args:
        node: volume, label map, segmentation, markups or model, taken where it lies in the world.
        transform: fixed -> moving, LPS.
        grid: the same as Slicer's transform.
        like: the fixed grid.

    Raises:
        RegistrationError: the node cannot be carried along, for the reason it says.
    """
    copy = node.CreateNodeInstance()
    copy.UnRegister(None)  # it comes with a reference for its maker, beside the one this variable holds
    if node.IsA("vtkMRMLScalarVolumeNode"):
        image = image_from_volume(node)
        labels = node.IsA("vtkMRMLLabelMapVolumeNode")
        moved = resample_labels(image, like, transform) if labels else resample(image, like, transform)
        set_volume(copy, moved)
    elif node.IsA("vtkMRMLSegmentationNode"):
        _fill_segmentation(copy, node, like, transform)
    elif node.IsA("vtkMRMLMarkupsNode") or node.IsA("vtkMRMLModelNode"):
        copy.CopyContent(node)
        to_fixed = vtk.vtkGeneralTransform()
        to_fixed.PostMultiply()
        to_fixed.Concatenate(slicer.util.vtkMatrixFromArray(world_matrix(node)))
        to_fixed.Concatenate(grid.GetInverse())
        copy.ApplyTransform(to_fixed)
    else:
        raise RegistrationError(f"{node.GetName()} cannot be transformed; choose volumes, labels, markups or models.")
    return copy


def _fill_segmentation(
    copy: slicer.vtkMRMLSegmentationNode,
    node: slicer.vtkMRMLSegmentationNode,
    like: sitk.Image,
    transform: sitk.Transform,
) -> None:
    """Gives a new segmentation node the segments of another, carried along; overlapping segments stay apart."""
    source, segmentation = labelmap_segmentation(node), copy.GetSegmentation()
    segmentation.SetSourceRepresentationName(LABELMAP)
    for index, layer in layer_images(source, node).items():
        data = oriented_image(resample_labels(layer, like, transform))
        for segment_id in source.GetSegmentIDsForLayer(index, LABELMAP):
            segment = slicer.vtkSegment()
            segment.DeepCopyMetadata(source.GetSegment(segment_id))
            segment.AddRepresentation(LABELMAP, data)
            segmentation.AddSegment(segment, segment_id)
