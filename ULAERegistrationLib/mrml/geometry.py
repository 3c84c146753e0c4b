"""Volumes, masks and transforms between MRML nodes and SimpleITK: the one room that knows vtk and Slicer's nodes.

MRML is RAS millimetres, everything else in this package is LPS: the flip happens here and nowhere else. A scene is
always taken from a node, never from the application.
"""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
import slicer
import slicer.util
import vtk
from vtk.util import numpy_support

from .errors import RegistrationError
from .field import resample

RAS_TO_LPS = np.diag([-1.0, -1.0, 1.0])  # its own inverse
LABELMAP = "Binary labelmap"  # vtkSegmentationConverter's name of that representation
ORTHOGONAL = 1e-3  # largest cosine between two axes of a grid that ITK can describe


# --- geometry ---


def world_matrix(node: slicer.vtkMRMLTransformableNode) -> np.ndarray:
    """The linear transform a node lies under: its own RAS to the world's RAS, 4 x 4.

    Raises:
        RegistrationError: the node lies under a transform that is not linear.
    """
    matrix = vtk.vtkMatrix4x4()
    parent = node.GetParentTransformNode()
    if parent is not None and not parent.IsTransformToWorldLinear():
        raise RegistrationError(
            f"{node.GetName()} lies under the non-linear transform {parent.GetName()}; harden it or take it away first."
        )
    if parent is not None:
        parent.GetMatrixTransformToWorld(matrix)
    return slicer.util.arrayFromVTKMatrix(matrix)


def _set_geometry(image: sitk.Image, ijk_to_ras: np.ndarray, name: str) -> None:
    """Gives an image the place that a 4 x 4 matrix of voxel indices to RAS says."""
    axes = RAS_TO_LPS @ ijk_to_ras[:3, :3]
    spacing = np.linalg.norm(axes, axis=0)
    direction = axes / spacing
    if np.abs(direction.T @ direction - np.eye(3)).max() > ORTHOGONAL:
        raise RegistrationError(
            f"{name} lies on a sheared grid (because of its parent transform, or as it was scanned); "
            f"resample it to an ordinary grid first, with the module Resample Scalar/Vector/DWI Volume."
        )
    image.SetSpacing(spacing.tolist())
    image.SetDirection(direction.ravel().tolist())
    image.SetOrigin((RAS_TO_LPS @ ijk_to_ras[:3, 3]).tolist())


def _ijk_to_ras(image: sitk.Image) -> np.ndarray:
    """An image's voxel indices to RAS, 4 x 4."""
    matrix = np.eye(4)
    direction = np.reshape(image.GetDirection(), (3, 3))
    matrix[:3, :3] = RAS_TO_LPS @ direction @ np.diag(image.GetSpacing())
    matrix[:3, 3] = RAS_TO_LPS @ image.GetOrigin()
    return matrix


# --- volumes ---


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
    _set_geometry(image, world_matrix(volume) @ slicer.util.arrayFromVTKMatrix(matrix), name)
    return image


def set_volume(volume: slicer.vtkMRMLVolumeNode, image: sitk.Image) -> None:
    """Puts an image into a volume node, in the world: the node's parent transform is taken away."""
    volume.SetAndObserveTransformNodeID(None)
    volume.SetIJKToRASMatrix(slicer.util.vtkMatrixFromArray(_ijk_to_ras(image)))
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


def _oriented_image(image: sitk.Image) -> slicer.vtkOrientedImageData:
    """A label image as segmentations hold it."""
    data = slicer.vtkOrientedImageData()
    data.SetDimensions(*image.GetSize())
    values = np.ascontiguousarray(sitk.GetArrayViewFromImage(image))
    kind = vtk.VTK_UNSIGNED_CHAR if values.dtype == np.uint8 else vtk.VTK_SHORT
    data.GetPointData().SetScalars(numpy_support.numpy_to_vtk(values.ravel(), deep=True, array_type=kind))
    data.SetGeometryFromImageToWorldMatrix(slicer.util.vtkMatrixFromArray(_ijk_to_ras(image)))
    return data


def _image_from_oriented(data: slicer.vtkOrientedImageData, parent: np.ndarray, name: str) -> sitk.Image:
    """One layer of a segmentation, placed in the world by the matrix of its parent transform."""
    matrix = vtk.vtkMatrix4x4()
    data.GetImageToWorldMatrix(matrix)
    extent = data.GetExtent()
    start = np.eye(4)
    start[:3, 3] = extent[::2]  # the first voxel of a cropped layer is not (0, 0, 0)
    values = numpy_support.vtk_to_numpy(data.GetPointData().GetScalars())
    image = sitk.GetImageFromArray(values.reshape(data.GetDimensions()[::-1]).astype(np.int16))
    _set_geometry(image, parent @ slicer.util.arrayFromVTKMatrix(matrix) @ start, name)
    return image


# --- masks and labels ---


def mask_image(node: slicer.vtkMRMLDisplayableNode, like: sitk.Image) -> sitk.Image:
    """What a segmentation (all its segments) or a label map covers, on the grid of `like`.

    Returns:
        uint8 image of zeros and ones.
    """
    total = sitk.Image(like.GetSize(), sitk.sitkUInt8)
    total.CopyInformation(like)
    layers = _layers(_labelmaps(node), node) if node.IsA("vtkMRMLSegmentationNode") else [image_from_volume(node)]
    for layer in layers:
        total = sitk.Or(total, sitk.Cast(_nearest(layer, like) != 0, sitk.sitkUInt8))
    return total


def label_layers(node: slicer.vtkMRMLDisplayableNode, like: sitk.Image) -> list[tuple[np.ndarray, dict[str, int]]]:
    """The labels of a segmentation (by segment name) or label map (by number) on a grid.

    Returns:
        Label arrays, in `like`'s (z, y, x), each with its labels' names and values. Segments that overlap lie in
        different ones.
    """
    if not node.IsA("vtkMRMLSegmentationNode"):
        values = sitk.GetArrayFromImage(_nearest(image_from_volume(node), like)).astype(np.int32)
        return [(values, {str(label): label for label in np.unique(values[values != 0]).tolist()})]
    segmentation = _labelmaps(node)
    layers = []
    for index, layer in enumerate(_layers(segmentation, node)):
        segments = map(segmentation.GetSegment, segmentation.GetSegmentIDsForLayer(index, LABELMAP))
        names = {segment.GetName(): segment.GetLabelValue() for segment in segments}
        layers.append((sitk.GetArrayFromImage(_nearest(layer, like)).astype(np.int32), names))
    return layers


def labels_on_grid(node: slicer.vtkMRMLDisplayableNode, like: sitk.Image) -> dict[str, np.ndarray]:
    """Where each label of `label_layers` lies, as bool arrays."""
    return {name: values == value for values, names in label_layers(node, like) for name, value in names.items()}


def _labelmaps(node: slicer.vtkMRMLSegmentationNode) -> slicer.vtkSegmentation:
    """A node's segments with label maps; the node itself is left as it is."""
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


def _layers(segmentation: slicer.vtkSegmentation, node: slicer.vtkMRMLSegmentationNode) -> list[sitk.Image]:
    """The label images a segmentation consists of, in the world."""
    parent = world_matrix(node)
    layers = range(segmentation.GetNumberOfLayers(LABELMAP))
    data = [segmentation.GetLayerDataObject(index, LABELMAP) for index in layers]
    return [_image_from_oriented(one, parent, node.GetName()) for one in data]


def _nearest(image: sitk.Image, like: sitk.Image, transform: sitk.Transform | None = None) -> sitk.Image:
    return resample(image, like, transform or sitk.Transform(3, sitk.sitkIdentity), labels=True)


# --- transforms ---


def linear_transform(node: slicer.vtkMRMLTransformNode) -> sitk.Transform:
    """A linear transform node as the start of a registration: fixed world -> moving world, LPS.

    In Slicer a transform carries the moving volume to the fixed one, so this is the node's way from the world.

    Raises:
        RegistrationError: the transform is not linear.
    """
    if not node.IsTransformToWorldLinear():
        raise RegistrationError(f"{node.GetName()} is not linear; choose a linear transform to start from.")
    matrix = vtk.vtkMatrix4x4()
    node.GetMatrixTransformFromWorld(matrix)
    from_world = slicer.util.arrayFromVTKMatrix(matrix)
    transform = sitk.AffineTransform(3)
    transform.SetMatrix((RAS_TO_LPS @ from_world[:3, :3] @ RAS_TO_LPS).ravel().tolist())
    transform.SetTranslation((RAS_TO_LPS @ from_world[:3, 3]).tolist())
    return transform


def grid_transform(field: sitk.Image) -> slicer.vtkOrientedGridTransform:
    """A displacement field as Slicer's grid transform, to be stored from-parent (fixed -> moving).

    Args:
        field: displacement vectors, LPS mm.
    """
    size = field.GetSize()
    vectors = np.array(sitk.GetArrayViewFromImage(field), dtype=np.float32).reshape(-1, 3)
    vectors[:, :2] *= -1  # LPS to RAS
    data = vtk.vtkImageData()
    data.SetDimensions(*size)
    data.SetSpacing(*field.GetSpacing())
    data.SetOrigin(*(RAS_TO_LPS @ field.GetOrigin()))
    data.GetPointData().SetScalars(numpy_support.numpy_to_vtk(vectors, deep=True))
    direction = np.eye(4)
    direction[:3, :3] = RAS_TO_LPS @ np.reshape(field.GetDirection(), (3, 3))
    grid = slicer.vtkOrientedGridTransform()
    grid.SetGridDirectionMatrix(slicer.util.vtkMatrixFromArray(direction))
    grid.SetDisplacementGridData(data)
    grid.SetInterpolationModeToLinear()  # as ITK does, so that it is the map that was computed and measured
    return grid


def field_from_node(node: slicer.vtkMRMLGridTransformNode) -> sitk.Image:
    """The displacement field of a grid transform node that is stored from-parent: vectors in LPS mm.

    Raises:
        RegistrationError: the node holds no such field.
    """
    grid = node.GetTransformFromParentAs("vtkOrientedGridTransform", False, False)
    data = grid.GetDisplacementGrid() if grid is not None else None
    if data is None:
        raise RegistrationError(f"{node.GetName()} holds no displacement field; choose the result of a registration.")
    values = numpy_support.vtk_to_numpy(data.GetPointData().GetScalars())
    vectors = values.reshape(*data.GetDimensions()[::-1], 3) * np.float32([-1, -1, 1])
    field = sitk.GetImageFromArray(vectors, isVector=True)
    direction = slicer.util.arrayFromVTKMatrix(grid.GetGridDirectionMatrix())[:3, :3]
    field.SetSpacing(data.GetSpacing())
    field.SetOrigin((RAS_TO_LPS @ data.GetOrigin()).tolist())
    field.SetDirection((RAS_TO_LPS @ direction).ravel().tolist())
    return field


def no_displacement(like: sitk.Image) -> sitk.Image:
    """A field of the grid of `like` that moves nothing."""
    field = sitk.Image(like.GetSize(), sitk.sitkVectorFloat32)
    field.CopyInformation(like)
    return field


def jacobian_determinant(field: sitk.Image) -> sitk.Image:
    """The determinant of the map p + field(p) at each voxel: 1 keeps volume, 0 or less folds.

    Args:
        field: displacement vectors, LPS mm.

    Returns:
        float32 image on the field's grid.
    """
    # ITK's filter differentiates along the grid's axes and takes the vectors as if they were along them too.
    direction = np.reshape(field.GetDirection(), (3, 3)).astype(np.float32)
    along_axes = sitk.GetImageFromArray(sitk.GetArrayViewFromImage(field) @ direction, isVector=True)
    along_axes.SetSpacing(field.GetSpacing())
    determinant = sitk.DisplacementFieldJacobianDeterminant(along_axes)
    determinant.CopyInformation(field)
    return sitk.Cast(determinant, sitk.sitkFloat32)


def warped_through(image: sitk.Image, like: sitk.Image, field: sitk.Image) -> sitk.Image:
    """An image sampled once on the grid of `like` through a displacement field, as float32."""
    transform = sitk.DisplacementFieldTransform(sitk.Cast(field, sitk.sitkVectorFloat64))
    return resample(sitk.Cast(image, sitk.sitkFloat32), like, transform)


def set_transform(
    node: slicer.vtkMRMLTransformNode,
    grid: slicer.vtkOrientedGridTransform,
    fixed: slicer.vtkMRMLNode | None,
    moving: slicer.vtkMRMLNode | None,
) -> None:
    """Makes a transform node hold a result; other modules find the two volumes by the references set here."""
    node.SetAndObserveTransformNodeID(None)
    node.SetAndObserveTransformFromParent(grid)
    node.SetNodeReferenceID(node.GetFixedNodeReferenceRole(), fixed.GetID() if fixed else None)
    node.SetNodeReferenceID(node.GetMovingNodeReferenceRole(), moving.GetID() if moving else None)


# --- carrying other nodes along ---


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
    if node.IsA("vtkMRMLScalarVolumeNode"):
        image = image_from_volume(node)
        labels = node.IsA("vtkMRMLLabelMapVolumeNode")
        moved = _nearest(image, like, transform) if labels else resample(image, like, transform)
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


def _fill_segmentation(copy, node, like: sitk.Image, transform: sitk.Transform) -> None:
    """Gives a new segmentation node the segments of another, carried along; overlapping segments stay apart."""
    source, segmentation = _labelmaps(node), copy.GetSegmentation()
    segmentation.SetSourceRepresentationName(LABELMAP)
    for index, layer in enumerate(_layers(source, node)):
        data = _oriented_image(_nearest(layer, like, transform))
        for segment_id in source.GetSegmentIDsForLayer(index, LABELMAP):
            segment = slicer.vtkSegment()
            segment.DeepCopyMetadata(source.GetSegment(segment_id))
            segment.AddRepresentation(LABELMAP, data)
            segmentation.AddSegment(segment, segment_id)
