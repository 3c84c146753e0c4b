"""What somebody has drawn, moved or written in a node that the module made is never lost by registering again."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
import slicer
import vtk
from in_world import centre_of
from standin.clicking import behave, click, finish
from standin.worker import known_brain

from ULAERegistrationLib.mrml.labels import LABELMAP, oriented_image, set_segmentation_from_mask
from ULAERegistrationLib.mrml.volumes import set_volume


def segment_names(node) -> list[str]:
    segments = node.GetSegmentation()
    return [segments.GetNthSegment(index).GetName() for index in range(segments.GetNumberOfSegments())]


def add_segment(node, mask: sitk.Image, name: str) -> None:
    segment = slicer.vtkSegment()
    segment.SetName(name)
    segment.AddRepresentation(LABELMAP, oriented_image(mask))
    node.GetSegmentation().AddSegment(segment)


def belongings(scene, image: sitk.Image) -> dict:
    """One node of every kind that can be carried along, by its kind."""
    kinds = ("Segmentation", "LabelMapVolume", "ScalarVolume", "MarkupsFiducial", "Model")
    nodes = {kind: scene.AddNewNodeByClass(f"vtkMRML{kind}Node", kind) for kind in kinds}
    set_segmentation_from_mask(nodes["Segmentation"], image > 200, "region")
    set_volume(nodes["LabelMapVolume"], sitk.Cast(image > 200, sitk.sitkUInt8))
    set_volume(nodes["ScalarVolume"], image)
    centre = centre_of(image) * [-1, -1, 1]
    nodes["MarkupsFiducial"].AddControlPoint(centre)
    ball = vtk.vtkSphereSource()
    ball.SetCenter(*centre)
    ball.Update()
    nodes["Model"].SetAndObservePolyData(ball.GetOutput())
    return nodes


def correct(node) -> None:
    """Does to a node what the Segment Editor, the mouse and the like do."""
    if node.IsA("vtkMRMLSegmentationNode"):
        data = node.GetSegmentation().GetNthSegment(0).GetRepresentation(LABELMAP)
        values = vtk.util.numpy_support.vtk_to_numpy(data.GetPointData().GetScalars())
        values[np.flatnonzero(values)[0]] = 0
    elif node.IsA("vtkMRMLVolumeNode"):
        slicer.util.arrayFromVolume(node)[3, 3, 3] += 1
    elif node.IsA("vtkMRMLMarkupsNode"):
        node.SetNthControlPointPosition(0, 1, 2, 3)
    else:
        shift = vtk.vtkTransform()
        shift.Translate(1, 0, 0)
        node.ApplyTransform(shift)


def test_every_kind_of_copy_is_kept_where_somebody_has_corrected_it(panel, pair, scene, images, app):
    sources = belongings(scene, images[1])
    for node in sources.values():
        panel.ui.carrySelector.check(node)
    click(panel)
    mine = dict(zip(sources, finish(panel, app).carriedNodes, strict=True))
    for node in mine.values():
        correct(node)
    click(panel)
    second = finish(panel, app)
    for (kind, node), new in zip(mine.items(), second.carriedNodes, strict=True):
        assert scene.GetNodeByID(node.GetID()) is node, kind
        assert node.GetName() == f"{kind} to Atlas"
        assert new is not node
        assert f"{kind} to Atlas was changed since it was made, and is kept." in panel.ui.stageLabel.text
    click(panel)
    third = finish(panel, app)
    assert [node.GetName() for node in third.carriedNodes] == [node.GetName() for node in second.carriedNodes]
    assert scene.GetNumberOfNodesByClass("vtkMRMLModelNode") == 3  # the source, the corrected and the last one


def test_untouched_copies_do_not_pile_up_in_a_scene_that_was_loaded(panel, pair, scene, images, app, tmp_path):
    sources = belongings(scene, images[1])
    for node in sources.values():
        panel.ui.carrySelector.check(node)
    click(panel)
    names = [node.GetName() for node in finish(panel, app).carriedNodes]
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    click(panel)
    run = finish(panel, app)
    assert [node.GetName() for node in run.carriedNodes] == names
    assert run.notes == []


def test_a_copy_that_was_put_under_a_transform_is_kept(panel, pair, scene, images, app):
    points = belongings(scene, images[1])["MarkupsFiducial"]
    panel.ui.carrySelector.check(points)
    click(panel)
    mine = finish(panel, app).carriedNodes[0]
    mine.SetAndObserveTransformNodeID(scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "by hand").GetID())
    click(panel)
    assert finish(panel, app).carriedNodes[0] is not mine
    assert scene.GetNodeByID(mine.GetID()) is mine


def test_what_was_drawn_within_a_brain_that_was_found_is_kept(panel, pair, scene, images, app):
    behave(panel, "go", "nowhere", "heads")
    click(panel)
    mine = finish(panel, app).fixedMaskNode
    lesion = sitk.BinaryErode(known_brain(images[0]), (3, 3, 3))
    add_segment(mine, lesion, "lesion")  # all segments together cover what they did
    click(panel)
    second = finish(panel, app)
    assert segment_names(mine) == ["brain", "lesion"]
    assert second.fixedMaskNode is not mine
    assert segment_names(second.fixedMaskNode) == ["brain"]
    assert "Atlas brain was changed since it was made, and is kept." in panel.ui.stageLabel.text


def test_a_brain_moves_with_its_volume_and_still_counts_as_found(panel, pair, scene, app):
    parent = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    pair[0].SetAndObserveTransformNodeID(parent.GetID())
    behave(panel, "go", "nowhere", "heads")
    click(panel)
    first = finish(panel, app)
    parent.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(np.diag([-1.0, -1.0, 1.0, 1.0])))
    click(panel)
    assert finish(panel, app).fixedMaskNode is first.fixedMaskNode
