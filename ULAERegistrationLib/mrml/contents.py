"""What a node holds, as a text that is kept with it and tells later whether anybody has changed it.

Loading a scene may turn, flip and crop a grid and change the last digits of a position. Grids are therefore turned to
LPS and segments cropped to their voxels; positions are kept beside the checksum and compared within a tolerance.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable

import numpy as np
import SimpleITK as sitk
import slicer
import vtk

from ..errors import RegistrationError
from .geometry import ijk_to_ras_matrix
from .labels import LABELMAP, has_voxels, image_from_oriented, labelmap_segmentation
from .volumes import image_from_volume

TOLERANCE = 1e-4  # mm
Held = tuple[Iterable[bytes], list[float]]  # what must be equal, and positions (mm)


def contents_of(node: slicer.vtkMRMLTransformableNode) -> str:
    """Sum up what a volume, label map, segmentation, markups or model node holds; not how it looks.

    Of a segmentation these are the number of segments, their names and the voxels of each, in the node's own frame: a
    linear transform that it lies under may change.

    Raises:
        RegistrationError: it has no voxels or no segments, or lies on a sheared grid.
    """
    if node.IsA("vtkMRMLSegmentationNode"):
        parts, positions = _of_segmentation(node)
    elif node.IsA("vtkMRMLMarkupsNode"):
        parts, positions = _of_markups(node)
    elif node.IsA("vtkMRMLModelNode"):
        parts, positions = _of_model(node)
    else:
        parts, positions = _of_volume(node)
    checksum = hashlib.sha256()
    for part in parts:
        checksum.update(part)
    return json.dumps([checksum.hexdigest(), np.round(positions, 6).tolist()])


def still_holds(node: slicer.vtkMRMLTransformableNode, contents: str | None) -> bool:
    """Whether a node holds what `contents_of` said of it earlier; not where that is unknown."""
    if contents is None:
        return False
    try:
        checksum, positions = json.loads(contents_of(node))
    except RegistrationError:  # its segments were deleted, for instance
        return False
    earlier_checksum, earlier = json.loads(contents)
    return checksum == earlier_checksum and np.allclose(positions, earlier, rtol=0, atol=TOLERANCE)


def _of_volume(node: slicer.vtkMRMLScalarVolumeNode) -> Held:
    image = sitk.DICOMOrient(image_from_volume(node), "LPS")
    voxels = sitk.GetArrayViewFromImage(image)
    return [_text(voxels.dtype.str, voxels.shape), voxels.tobytes()], ijk_to_ras_matrix(image).ravel().tolist()


def _of_segmentation(node: slicer.vtkMRMLSegmentationNode) -> Held:
    segmentation = labelmap_segmentation(node)
    voxels = _voxels_by_segment(segmentation, node.GetName())
    places = [ijk_to_ras_matrix(image) for image in voxels.values()]
    parts = []
    for index in range(segmentation.GetNumberOfSegments()):
        name, image = segmentation.GetNthSegment(index).GetName(), voxels.get(segmentation.GetNthSegmentID(index))
        if image is None:
            parts.append(_text(name))
            continue
        # Relative to one of the segments these are whole numbers as a rule, which can be rounded for a checksum.
        place = np.round(np.linalg.inv(places[0]) @ ijk_to_ras_matrix(image), 2) + 0.0
        parts.append(_text(name, image.GetSize(), place.tolist()))
        parts.append(np.packbits(sitk.GetArrayViewFromImage(image)).tobytes())
    return parts, places[0].ravel().tolist() if places else []


def _voxels_by_segment(segmentation: slicer.vtkSegmentation, name: str) -> dict[str, sitk.Image]:
    """Each segment that has voxels, in the order of the segments: zeros and ones within its bounding box."""
    found = {}
    for index in range(segmentation.GetNumberOfLayers(LABELMAP)):
        data = segmentation.GetLayerDataObject(index, LABELMAP)
        if not has_voxels(data):
            continue
        layer = sitk.DICOMOrient(image_from_oriented(data, np.eye(4), name), "LPS")
        shapes = sitk.LabelShapeStatisticsImageFilter()
        shapes.ComputePerimeterOff()
        shapes.Execute(layer)
        for segment_id in segmentation.GetSegmentIDsForLayer(index, LABELMAP):
            label = segmentation.GetSegment(segment_id).GetLabelValue()
            if shapes.HasLabel(label):
                box = shapes.GetBoundingBox(label)
                found[segment_id] = sitk.RegionOfInterest(layer, box[3:], box[:3]) == label
    ids = [segmentation.GetNthSegmentID(index) for index in range(segmentation.GetNumberOfSegments())]
    return {segment_id: found[segment_id] for segment_id in ids if segment_id in found}


def _of_markups(node: slicer.vtkMRMLMarkupsNode) -> Held:
    points = range(node.GetNumberOfControlPoints())
    texts = [(node.GetNthControlPointLabel(point), node.GetNthControlPointDescription(point)) for point in points]
    positions = [coordinate for point in points for coordinate in node.GetNthControlPointPosition(point)]
    if node.IsA("vtkMRMLMarkupsROINode") or node.IsA("vtkMRMLMarkupsPlaneNode"):  # these have a size and axes as well
        axes = vtk.vtkMatrix4x4()
        if node.IsA("vtkMRMLMarkupsPlaneNode"):
            node.GetObjectToNodeMatrix(axes)
        else:
            axes.DeepCopy(node.GetObjectToNodeMatrix())
        positions += [*node.GetSize(), *np.ravel(slicer.util.arrayFromVTKMatrix(axes)).tolist()]
    return [_text(texts)], positions


def _of_model(node: slicer.vtkMRMLModelNode) -> Held:
    if node.GetMesh() is None:
        return [], []
    mesh = node.GetMesh().NewInstance()
    mesh.ShallowCopy(node.GetMesh())
    mesh.GetPointData().SetNormals(None)  # they follow from the rest, and not to the last digit
    writer = vtk.vtkDataSetWriter()
    writer.SetInputData(mesh)
    writer.WriteToOutputStringOn()
    writer.Write()
    return [writer.GetOutputString().encode()], []


def _text(*values: object) -> bytes:
    return json.dumps(values).encode()
