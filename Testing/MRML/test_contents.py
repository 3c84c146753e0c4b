"""What was made can be told from what somebody has changed, for every kind of node, also after loading the scene."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
import vtk

from ULAERegistrationLib.mrml.contents import contents_of, still_holds
from ULAERegistrationLib.mrml.labels import LABELMAP, oriented_image
from ULAERegistrationLib.mrml.volumes import set_volume

SIZE, SPACING = [30, 32, 28], [0.8203125, 1.2, 1.5]


def grey_image() -> sitk.Image:
    """An oblique scan whose axes lie in another order than LPS; a loaded volume has its axes flipped as well."""
    image = sitk.GaussianSource(
        size=SIZE, sigma=[8] * 3, mean=[16] * 3, spacing=SPACING, outputPixelType=sitk.sitkInt16
    )
    turn = sitk.Euler3DTransform((0, 0, 0), 0.2, -0.1, 0.3)
    axes = np.reshape(turn.GetMatrix(), (3, 3)) @ np.array([[0, 0, 1], [-1, 0, 0], [0, 1, 0]])
    image.SetDirection(axes.ravel().tolist())
    image.SetOrigin([-31.3, 12.1, 7.77])
    return image


def add_segment(node, mask: sitk.Image, name: str) -> None:
    segment = slicer.vtkSegment()
    segment.SetName(name)
    segment.AddRepresentation(LABELMAP, oriented_image(sitk.Cast(mask, sitk.sitkUInt8)))
    node.GetSegmentation().AddSegment(segment)


def segmentation(scene):
    node = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "node")
    node.GetSegmentation().SetSourceRepresentationName(LABELMAP)
    add_segment(node, grey_image() > 60, "brain")
    add_segment(node, sitk.Not(grey_image() > 60), "around it")
    add_segment(node, grey_image() > 110, "lesion")  # overlaps: a layer of its own
    node.GetSegmentation().AddEmptySegment("empty", "empty")
    return node


def volume(scene, kind: str = "ScalarVolume"):
    node = scene.AddNewNodeByClass(f"vtkMRML{kind}Node", "node")
    set_volume(node, grey_image())
    return node


def label_map(scene):
    return volume(scene, "LabelMapVolume")


def markups(scene, kind: str = "Curve"):
    node = scene.AddNewNodeByClass(f"vtkMRMLMarkups{kind}Node", "node")
    for point in np.random.default_rng(0).normal(0, 40, (5, 3)):
        node.AddControlPoint(point)
    return node


def points(scene):
    return markups(scene, "Fiducial")


def region(scene):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsROINode", "node")
    node.SetCenter(1.1, 2.2, 3.3)
    node.SetSize(4.4, 5.5, 6.6)
    return node


def plane(scene):
    node = scene.AddNewNodeByClass("vtkMRMLMarkupsPlaneNode", "node")
    node.SetCenter(1.1, 2.2, 3.3)
    node.SetNormal(0.6, 0, 0.8)
    node.SetSizeMode(node.SizeModeAbsolute)
    node.SetSize(4.4, 5.5)
    return node


def model(scene):
    ball = vtk.vtkSphereSource()
    ball.SetCenter(0.1, 0.2, -30)
    ball.Update()
    node = scene.AddNewNodeByClass("vtkMRMLModelNode", "node")
    node.SetAndObservePolyData(ball.GetOutput())
    return node


KINDS = (segmentation, volume, label_map, markups, points, region, plane, model)


def draw(node, index: int) -> None:
    """Removes one voxel from a segment."""
    data = node.GetSegmentation().GetNthSegment(index).GetRepresentation(LABELMAP)
    values = vtk.util.numpy_support.vtk_to_numpy(data.GetPointData().GetScalars())
    values[np.flatnonzero(values == node.GetSegmentation().GetNthSegment(index).GetLabelValue())[-1]] = 0


def paint(node) -> None:
    slicer.util.arrayFromVolume(node)[14, 16, 15] += 1


def shift(node) -> None:
    """Moves it to another place, as hardening a transform does."""
    transform = vtk.vtkTransform()
    transform.Translate(0, 0.01, 0)
    node.ApplyTransform(transform)


def cut(node) -> None:
    mesh = node.GetPolyData()
    mesh.BuildCells()
    mesh.DeleteCell(3)
    mesh.RemoveDeletedCells()


CHANGES = {
    "a voxel of a segment": (segmentation, lambda node: draw(node, 0)),
    "a voxel of the segment over it": (segmentation, lambda node: draw(node, 2)),
    "a segment more within another": (segmentation, lambda node: add_segment(node, grey_image() > 90, "cyst")),
    "an empty segment more": (segmentation, lambda node: node.GetSegmentation().AddEmptySegment("new", "new")),
    "a segment less": (segmentation, lambda node: node.GetSegmentation().RemoveSegment("empty")),
    "no segment left": (segmentation, lambda node: node.GetSegmentation().RemoveAllSegments()),
    "another name": (segmentation, lambda node: node.GetSegmentation().GetNthSegment(2).SetName("tumour")),
    "a segmentation elsewhere": (segmentation, shift),
    "a voxel": (volume, paint),
    "a label": (label_map, paint),
    "a volume elsewhere": (volume, shift),
    "a point elsewhere": (markups, lambda node: node.SetNthControlPointPosition(3, 1, 2, 3)),
    "a point more": (points, lambda node: node.AddControlPoint(1, 2, 3)),
    "a point less": (points, lambda node: node.RemoveNthControlPoint(0)),
    "a label of a point": (points, lambda node: node.SetNthControlPointLabel(1, "AC")),
    "a description of a point": (points, lambda node: node.SetNthControlPointDescription(1, "seen in T2")),
    "the size of a region": (region, lambda node: node.SetSize(4.4, 5.5, 7)),
    "a region elsewhere": (region, lambda node: node.SetCenter(1.1, 2.2, 4)),
    "the size of a plane": (plane, lambda node: node.SetSize(4.4, 7)),
    "a plane turned": (plane, lambda node: node.SetNormal(0.8, 0, 0.6)),
    "a model elsewhere": (model, shift),
    "a triangle less": (model, cut),
}


@pytest.mark.parametrize("change", CHANGES)
def test_a_change_is_noticed(scene, change):
    make, apply = CHANGES[change]
    node = make(scene)
    contents = contents_of(node)
    assert still_holds(node, contents)
    apply(node)
    assert not still_holds(node, contents)


@pytest.mark.parametrize("make", KINDS)
def test_saving_and_loading_the_scene_is_no_change(scene, make, tmp_path):
    node = make(scene)
    node.SetAttribute("made", contents_of(node))
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    loaded = slicer.util.getNode("node")
    assert still_holds(loaded, loaded.GetAttribute("made"))


@pytest.mark.parametrize("make", KINDS)
def test_looks_are_no_contents(scene, make):
    node = make(scene)
    contents = contents_of(node)
    node.CreateDefaultDisplayNodes()
    node.GetDisplayNode().SetVisibility(False)
    node.SetName("renamed")
    assert still_holds(node, contents)


def test_a_segmentation_that_moves_with_its_parent_is_not_changed(scene):
    node = segmentation(scene)
    contents = contents_of(node)
    parent = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    parent.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.diag([1.0, -1.0, -1.0, 1.0])))
    node.SetAndObserveTransformNodeID(parent.GetID())
    assert still_holds(node, contents)


def test_a_model_that_was_empty_and_has_a_mesh_by_now_is_changed(scene):
    node = scene.AddNewNodeByClass("vtkMRMLModelNode", "empty")
    contents = contents_of(node)
    assert still_holds(node, contents)
    node.SetAndObservePolyData(model(scene).GetPolyData())
    assert not still_holds(node, contents)


def test_what_is_unknown_counts_as_changed(scene):
    assert not still_holds(segmentation(scene), None)
