"""What belongs to the moving volume is carried along exactly, on oblique grids too."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk
from conftest import labels_on_grid

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.geometry.transforms import displacement_field, field_transform
from ULAERegistrationLib.mrml.carrying import carried_along
from ULAERegistrationLib.mrml.labels import LABELMAP, mask_image, oriented_image
from ULAERegistrationLib.mrml.transforms import grid_transform, set_transform
from ULAERegistrationLib.mrml.volumes import set_volume


@pytest.fixture(scope="module")
def oblique(data_folder):
    """An oblique moving scan, the fixed grid and a smooth map between them, as transform and as grid transform."""
    from standin.worker import known_map

    moving = sitk.ReadImage(str(data_folder / "raw" / "oblique" / "na16_t1.nii.gz"))
    fixed = sitk.ReadImage(str(data_folder / "raw" / "oasis" / "1101_t1.nii.gz"))
    field = displacement_field(known_map(fixed, moving), fixed, 2.0)
    return field_transform(field), grid_transform(field), fixed


@pytest.fixture
def segmentation(mrml, scene, load):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "regions")
    mrml.logics["Segmentations"].ImportLabelmapToSegmentationNode(load("oblique/na16", labels=True), node)
    return node


def labels_of(node, like) -> np.ndarray:
    """All segments in one array, by their label values."""
    total = np.zeros(like.GetSize()[::-1], int)
    segments, found = node.GetSegmentation(), labels_on_grid(node, like)
    for index in range(segments.GetNumberOfSegments()):
        total[found[segments.GetNthSegment(index).GetName()]] = segments.GetNthSegment(index).GetLabelValue()
    return total


def test_a_label_map_is_simpleitk_nearest_neighbour(load, read, oblique):
    transform, grid, fixed = oblique
    copy = carried_along(load("oblique/na16", labels=True), transform, grid, fixed)
    theirs = sitk.Resample(read("oblique/na16", labels=True), fixed, transform, sitk.sitkNearestNeighbor, 0)
    assert copy.GetClassName() == "vtkMRMLLabelMapVolumeNode"
    assert np.array_equal(slicer.util.arrayFromVolume(copy), sitk.GetArrayFromImage(theirs))


def test_a_volume_is_simpleitk_linear(load, read, oblique):
    transform, grid, fixed = oblique
    copy = carried_along(load("oblique/na16"), transform, grid, fixed)
    theirs = sitk.Resample(read("oblique/na16"), fixed, transform, sitk.sitkLinear, 0.0, sitk.sitkFloat32)
    ours = slicer.util.arrayFromVolume(copy)
    assert ours.dtype == sitk.GetArrayFromImage(read("oblique/na16")).dtype
    assert np.abs(ours - sitk.GetArrayFromImage(theirs)).max() <= 0.51  # whole numbers are rounded


def test_a_segmentation_on_an_oblique_grid_loses_no_voxel(segmentation, read, oblique):
    transform, grid, fixed = oblique
    copy = carried_along(segmentation, transform, grid, fixed)
    theirs = sitk.Resample(read("oblique/na16", labels=True), fixed, transform, sitk.sitkNearestNeighbor, 0)
    assert np.array_equal(labels_of(copy, fixed), sitk.GetArrayFromImage(theirs))


def test_slicers_own_hardening_clips_such_a_segmentation(scene, segmentation, read, oblique):
    """Why `carried_along` does not harden; when this fails Slicer has mended it."""
    transform, grid, fixed = oblique
    node = scene.AddNewNodeByClass("vtkMRMLGridTransformNode")
    set_transform(node, grid, None, None)
    segmentation.SetAndObserveTransformNodeID(node.GetID())
    segmentation.HardenTransform()
    theirs = sitk.Resample(read("oblique/na16", labels=True), fixed, transform, sitk.sitkNearestNeighbor, 0)
    expected = np.count_nonzero(sitk.GetArrayFromImage(theirs))
    assert np.count_nonzero(labels_of(segmentation, fixed)) < 0.9 * expected


@pytest.mark.parametrize("number", [40_000, 614_454_277])
def test_numbers_of_labels_are_kept_however_large(scene, read, oblique, number):
    """FreeSurfer's numbers exceed 10,000, atlases made of several exceed 32,767 (Slicer issue 7605).

    The segmentation is made of its parts: Slicer's import counts the voxels of every number up to the largest one,
    which takes gigabytes here.
    """
    transform, grid, fixed = oblique
    numbered = sitk.Cast(read("oblique/na16", labels=True) != 0, sitk.sitkInt32) * number
    theirs = sitk.GetArrayFromImage(sitk.Resample(numbered, fixed, transform, sitk.sitkNearestNeighbor, 0))
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "atlas")
    set_volume(labels, numbered)
    segments = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "atlas")
    segment = slicer.vtkSegment()
    segment.SetName("all of it")
    segment.SetLabelValue(number)
    segment.AddRepresentation(LABELMAP, oriented_image(numbered))
    segments.GetSegmentation().SetSourceRepresentationName(LABELMAP)
    segments.GetSegmentation().AddSegment(segment)
    for found in (
        labels_of(segments, numbered),
        sitk.GetArrayFromImage(mask_image(segments, numbered)) * np.int64(number),
    ):
        assert np.array_equal(found, sitk.GetArrayFromImage(numbered))
    copy = carried_along(labels, transform, grid, fixed)
    assert np.array_equal(slicer.util.arrayFromVolume(copy), theirs)
    copy = carried_along(segments, transform, grid, fixed)
    assert copy.GetSegmentation().GetNthSegment(0).GetLabelValue() == number
    assert np.array_equal(labels_of(copy, fixed), theirs)
    assert np.count_nonzero(theirs) > 1000


def test_names_colours_and_overlaps_of_segments_are_kept(scene, oblique):
    transform, grid, fixed = oblique
    middle = fixed.TransformContinuousIndexToPhysicalPoint([size / 2 for size in fixed.GetSize()])
    x, y, z = np.multiply(transform.TransformPoint(middle), [-1, -1, 1])
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "two")
    node.GetSegmentation().SetSourceRepresentationName("Closed surface")
    for name, colour, centre in (("lesion", (1, 0, 0), (x, y, z)), ("lobe", (0, 1, 0), (x + 6, y, z))):
        ball = vtk.vtkSphereSource()
        ball.SetCenter(*centre)
        ball.SetRadius(20)
        ball.Update()
        node.AddSegmentFromClosedSurfaceRepresentation(ball.GetOutput(), name, colour)
    copy = carried_along(node, transform, grid, fixed)
    assert not node.GetSegmentation().ContainsRepresentation("Binary labelmap")  # the original is left as it was
    found = labels_on_grid(copy, fixed)
    assert set(found) == {"lesion", "lobe"}
    assert np.count_nonzero(found["lesion"] & found["lobe"]) > 1000
    assert copy.GetSegmentation().GetNthSegment(0).GetColor() == (1, 0, 0)


def test_markups_and_models_end_where_the_fixed_brain_has_them(scene, oblique):
    transform, grid, fixed = oblique
    rng = np.random.default_rng(3)
    size = np.array(fixed.GetSize())
    homes = [
        fixed.TransformContinuousIndexToPhysicalPoint((size * (0.3 + 0.4 * rng.random(3))).tolist()) for _ in range(50)
    ]
    there = np.array([transform.TransformPoint(point) for point in homes]) * [-1, -1, 1]
    markups = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "landmarks")
    cloud = vtk.vtkPoints()
    for point in there:
        markups.AddControlPoint(point)
        cloud.InsertNextPoint(point)
    model = scene.AddNewNodeByClass("vtkMRMLModelNode", "surface")
    mesh = vtk.vtkPolyData()
    mesh.SetPoints(cloud)
    model.SetAndObservePolyData(mesh)
    expected = np.array(homes) * [-1, -1, 1]
    moved = carried_along(markups, transform, grid, fixed)
    assert np.abs([moved.GetNthControlPointPosition(i) for i in range(50)] - expected).max() < 0.05
    moved = carried_along(model, transform, grid, fixed)
    assert np.abs([moved.GetPolyData().GetPoint(i) for i in range(50)] - expected).max() < 0.05
    assert np.abs([model.GetPolyData().GetPoint(i) for i in range(50)] - there).max() < 1e-3  # the original stays


@pytest.mark.parametrize("kind", ["ScalarVolume", "LabelMapVolume", "Segmentation", "MarkupsFiducial", "Model"])
def test_a_copy_dies_with_its_last_owner(scene, read, oblique, kind):
    node = scene.AddNewNodeByClass(f"vtkMRML{kind}Node", "original")
    if "Volume" in kind:
        set_volume(node, read("oblique/na16"))
    elif kind == "Segmentation":
        node.AddSegmentFromBinaryLabelmapRepresentation(oriented_image(read("oblique/na16", labels=True)), "one")
    else:
        node.AddControlPoint(0, 0, 0) if kind == "MarkupsFiducial" else node.SetAndObservePolyData(vtk.vtkPolyData())
    deleted = []
    copy = scene.AddNode(carried_along(node, *oblique))
    copy.AddObserver(vtk.vtkCommand.DeleteEvent, lambda caller, event: deleted.append(event))
    scene.RemoveNode(copy)
    assert not deleted  # the variable still has it
    del copy
    assert deleted


def test_a_camera_cannot_be_carried_along(scene, oblique):
    camera = scene.AddNewNodeByClass("vtkMRMLCameraNode", "eye")
    with pytest.raises(RegistrationError, match="eye cannot be transformed"):
        carried_along(camera, *oblique)
