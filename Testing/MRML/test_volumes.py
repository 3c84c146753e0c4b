"""Volumes and masks go between MRML and SimpleITK without moving a voxel in the world."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk
from input_cases import brain

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.files.volumes import header_doubts, read_volume
from ULAERegistrationLib.mrml.labels import label_layers, mask_image, set_segmentation_from_mask
from ULAERegistrationLib.mrml.transforms import grid_transform, set_transform
from ULAERegistrationLib.mrml.volumes import image_from_volume, set_volume


def test_slicer_gets_by_without_torch():
    code = (
        "import sys, ULAERegistrationLib.mrml.carrying, ULAERegistrationLib.simulation; print('torch' in sys.modules)"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip() == "False", done.stderr


def sampled(image: sitk.Image, like: sitk.Image) -> np.ndarray:
    return sitk.GetArrayFromImage(sitk.Resample(image, like, sitk.Transform(), sitk.sitkNearestNeighbor))


def linear_parent(scene, matrix: np.ndarray):
    node = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "parent")
    node.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    return node


@pytest.mark.parametrize("name", ["oblique/na16", "oasis/1101", "fcon/beijing01018"])
def test_a_loaded_volume_is_the_file_wherever_its_axes_point(load, read, name):
    ours, theirs = image_from_volume(load(name)), read(name)
    # Slicer's reader may reorder the slices of a left-handed scan, so compare in the world.
    assert np.array_equal(sampled(ours, theirs), sitk.GetArrayFromImage(theirs))


def test_a_volume_written_to_a_node_comes_back_the_same(scene, read):
    image = read("oblique/na16")
    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode")
    set_volume(node, image)
    back = image_from_volume(node)
    assert np.array_equal(sitk.GetArrayFromImage(back), sitk.GetArrayFromImage(image))
    for ours, theirs in ((back.GetOrigin(), image.GetOrigin()), (back.GetDirection(), image.GetDirection())):
        assert np.allclose(ours, theirs, atol=1e-9)


def test_a_linear_parent_is_part_of_where_the_volume_lies(scene, load):
    volume = load("oblique/na16")
    alone = image_from_volume(volume)
    angle = np.radians(20)
    matrix = np.eye(4)
    matrix[:2, :2] = [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    matrix[:3, 3] = 5, -7, 11
    volume.SetAndObserveTransformNodeID(linear_parent(scene, matrix).GetID())
    moved = image_from_volume(volume)
    for index in ((0, 0, 0), (30, 50, 70)):
        ras = np.multiply(alone.TransformIndexToPhysicalPoint(index), [-1, -1, 1])
        expected = (matrix @ [*ras, 1])[:3] * [-1, -1, 1]
        assert np.allclose(moved.TransformIndexToPhysicalPoint(index), expected, atol=1e-6)


@pytest.mark.parametrize(("shear", "warned"), [(0.0005, False), (0.003, True)])
def test_a_grid_that_is_hardly_sheared_becomes_the_nearest_with_right_angles_as_in_files(
    scene, tmp_path, shear, warned
):
    volume = sheared_volume(scene, shear)
    image = image_from_volume(volume)
    # Half of the shear at each of the two axes, over 108 mm from the origin on.
    place = image.TransformIndexToPhysicalPoint((10, 19, 27))
    assert np.linalg.norm(np.subtract(place, (40 + shear * 76, 76, 108))) < 0.75 * shear * 108
    sitk.WriteImage(image, str(tmp_path / "fixed.nrrd"))  # as the process that registers gets it
    doubts = header_doubts(read_volume(tmp_path / "fixed.nrrd", "fixed"), "fixed")
    assert ["not at right angles, by 0.3 %" in doubt for doubt in doubts] == [True] * warned


def test_a_sheared_grid_is_refused(scene):
    with pytest.raises(RegistrationError, match=r"not at right angles \(by 2 %.*module Resample Scalar"):
        image_from_volume(sheared_volume(scene, 0.02))


def sheared_volume(scene, shear: float):
    """A ball on voxels of 4 mm, whose grid a parent transform shears: to LPS x, `shear` times y is added."""
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "sheared")
    set_volume(volume, brain())
    matrix = np.eye(4)
    matrix[0, 1] = shear
    volume.SetAndObserveTransformNodeID(linear_parent(scene, matrix).GetID())
    return volume


def test_a_non_linear_parent_is_refused(scene, load, known_field):
    volume = load("oblique/na16")
    node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "bent")
    set_transform(node, grid_transform(known_field[0].GetDisplacementField()), None, None)
    volume.SetAndObserveTransformNodeID(node.GetID())
    with pytest.raises(RegistrationError, match="non-linear transform bent"):
        image_from_volume(volume)


def test_empty_and_colour_volumes_are_refused(scene):
    empty = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    with pytest.raises(RegistrationError, match="empty has no voxels"):
        image_from_volume(empty)
    colour = scene.AddNewNodeByClass("vtkMRMLVectorVolumeNode", "photo")
    data = vtk.vtkImageData()
    data.SetDimensions(4, 4, 4)
    data.AllocateScalars(vtk.VTK_UNSIGNED_CHAR, 3)
    colour.SetAndObserveImageData(data)
    with pytest.raises(RegistrationError, match="photo has several values"):
        image_from_volume(colour)


def test_a_mask_may_be_a_segmentation_or_a_label_map(mrml, scene, load, read):
    labels = load("oblique/na16", labels=True)
    segments = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "brain")
    mrml.logics["Segmentations"].ImportLabelmapToSegmentationNode(labels, segments)
    like = read("oblique/na16")
    expected = sitk.GetArrayFromImage(read("oblique/na16", labels=True)) != 0
    for node in (labels, segments):
        assert np.array_equal(sitk.GetArrayFromImage(mask_image(node, like)) != 0, expected)


def test_a_mask_on_another_grid_is_brought_to_the_volume(load, read):
    coarse = read("oblique/na16")[::3, ::2, ::2]
    mask = mask_image(load("oblique/na16", labels=True), coarse)
    expected = sampled(read("oblique/na16", labels=True), coarse) != 0
    assert mask.GetSize() == coarse.GetSize()
    assert np.array_equal(sitk.GetArrayFromImage(mask) != 0, expected)


def test_a_segmentation_without_segments_is_no_mask(scene, read):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "nothing")
    with pytest.raises(RegistrationError, match="nothing has no segments"):
        mask_image(node, read("oblique/na16"))


def smooth_oblique_mask(read) -> sitk.Image:
    """A brain of a real scan on its oblique grid, another than the scan's own."""
    image = read("oblique/na16")
    return sitk.Cast(sitk.DiscreteGaussian(sitk.Cast(image > 0, sitk.sitkFloat32), 2.0) > 0.5, sitk.sitkUInt8)


def test_a_mask_becomes_a_segment_that_lies_where_simpleitk_says(scene, read):
    mask = smooth_oblique_mask(read)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "scan brain")
    set_segmentation_from_mask(node, mask, "brain")
    segmentation = node.GetSegmentation()
    assert segmentation.GetNumberOfSegments() == 1
    assert segmentation.GetNthSegment(0).GetName() == "brain"
    assert np.array_equal(sitk.GetArrayFromImage(mask_image(node, mask)), sitk.GetArrayFromImage(mask))
    other = read("oasis/1101")  # an upright grid
    assert np.array_equal(sitk.GetArrayFromImage(mask_image(node, other)), sampled(mask, other))
    # By Slicer's own export, and not only by our own way back.
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "exported")
    assert slicer.modules.segmentations.logic().ExportAllSegmentsToLabelmapNode(node, labels, 0)
    assert np.array_equal(sampled(sitk.Cast(image_from_volume(labels) != 0, sitk.sitkUInt8), mask), sampled(mask, mask))


def test_another_mask_takes_the_place_of_the_first(scene, read):
    mask = smooth_oblique_mask(read)
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "scan brain")
    set_segmentation_from_mask(node, read("oasis/1101") > 0, "brain")
    set_segmentation_from_mask(node, 3 * mask, "brain")  # any number counts
    ((values, names),) = label_layers(node, mask)
    assert list(names) == ["brain"]
    assert np.array_equal(values == names["brain"], sitk.GetArrayFromImage(mask) > 0)


def test_a_mask_under_a_parent_transform_lies_where_it_was_in_the_world(scene, read):
    mask = smooth_oblique_mask(read)
    matrix = np.eye(4)
    matrix[:3] = [[0, -1, 0, 5], [1, 0, 0, -7], [0, 0, 1, 11]]
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "scan brain")
    node.SetAndObserveTransformNodeID(linear_parent(scene, matrix).GetID())
    set_segmentation_from_mask(node, mask, "brain")
    assert np.array_equal(sitk.GetArrayFromImage(mask_image(node, mask)), sitk.GetArrayFromImage(mask))
    node.GetParentTransformNode().SetMatrixTransformToParent(vtk.vtkMatrix4x4())
    assert not np.array_equal(sitk.GetArrayFromImage(mask_image(node, mask)), sitk.GetArrayFromImage(mask))


def test_a_volume_that_is_written_over_leaves_another_its_voxels(scene, read):
    """A step's volume shares those of the moving volume, and so may nodes of a script."""
    image = read("oasis/1101")
    first, second = (scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode") for _ in range(2))
    set_volume(first, image)
    second.SetAndObserveImageData(first.GetImageData())
    set_volume(second, sitk.Cast(image > 0, sitk.sitkUInt8))
    assert np.array_equal(slicer.util.arrayFromVolume(first), sitk.GetArrayViewFromImage(image))
    assert slicer.util.arrayFromVolume(second).max() == 1


def test_a_volume_whose_voxels_were_never_filled_is_refused(scene):
    volume = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")
    data = vtk.vtkImageData()
    data.SetDimensions(9, 10, 11)
    volume.SetAndObserveImageData(data)
    with pytest.raises(RegistrationError, match="empty has no voxels; choose another volume"):
        image_from_volume(volume)
