"""Volumes and masks go between MRML and SimpleITK without moving a voxel in the world."""

from __future__ import annotations

import subprocess
import sys

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.mrml.labels import mask_image
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


def test_a_sheared_grid_is_refused(scene, load):
    volume = load("oblique/na16")
    matrix = np.eye(4)
    matrix[0, 1] = 0.2
    volume.SetAndObserveTransformNodeID(linear_parent(scene, matrix).GetID())
    with pytest.raises(RegistrationError, match="sheared"):
        image_from_volume(volume)


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
