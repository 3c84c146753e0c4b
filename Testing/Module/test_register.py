"""Clicking Register: what a finished run puts into the scene, with real processes."""

from __future__ import annotations

import locale
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from in_world import centre_of
from standin.clicking import add_volume, behave, click, finish, running, state_of, wait_for_stage
from standin.worker import known_map

from ULAERegistrationLib.files.volumes import NAME, read_volume
from ULAERegistrationLib.mrml.volumes import image_from_volume, set_volume
from ULAERegistrationLib.progress import ALIGNMENT

ROOT = Path(__file__).parents[2]


def test_register_makes_the_transform_and_the_warped_volume(panel, pair, images, app):
    click(panel)
    assert panel.ui.registerButton.text == "Cancel"
    messages = []
    while running(panel):
        app.processEvents()
        messages.append((panel.ui.stageLabel.text, panel.ui.progressBar.value))
    run = finish(panel, app)
    assert run.state == "done", run.error + run.log
    assert [value for _, value in messages] == sorted(value for _, value in messages)
    assert panel.ui.registerButton.text == "Register"
    assert (run.transformNode.GetName(), run.volumeNode.GetName()) == ("MRHead to Atlas", "MRHead to Atlas, warped")
    assert run.transformNode.GetNodeReference("spatialRegistrationFixed") is pair[0]
    assert run.transformNode.GetNodeReference("spatialRegistrationMoving") is pair[1]
    true_map = known_map(*images)
    for point in np.random.default_rng(0).normal(0, 20, (100, 3)) + centre_of(images[0]):
        ras = run.transformNode.GetTransformFromParent().TransformPoint(point * [-1, -1, 1])
        assert np.linalg.norm(np.multiply(ras, [-1, -1, 1]) - true_map.TransformPoint(point)) < 0.1
    warped = sitk.Resample(images[1], images[0], true_map, sitk.sitkLinear)
    difference = slicer.util.arrayFromVolume(run.volumeNode) - sitk.GetArrayFromImage(warped)
    assert np.abs(difference).mean() < 0.01 * sitk.GetArrayViewFromImage(warped).max()


def test_results_are_read_with_decimal_points_whatever_language_is_set(panel, pair, app, monkeypatch):
    """ITK #5683: where a decimal comma is set, ITK reads 1.25 in the header of an .nrrd file as 1."""
    languages = ["de_DE.UTF-8"]

    def setlocale(kind, name: str | None = None) -> str:
        languages.extend([name] if name else [])
        return languages[-1]

    read, during = sitk.ReadImage, {}

    def reading(path: str, **named) -> sitk.Image:
        during[Path(path).name] = languages[-1]
        return read(path, **named)

    monkeypatch.setattr(locale, "setlocale", setlocale)
    monkeypatch.setattr(sitk, "ReadImage", reading)
    behave(panel, "go", "nowhere", "heads")
    click(panel)
    assert finish(panel, app).state == "done"
    assert {"field.nrrd", "warped.nrrd", "fixed_mask.nrrd", "moving_mask.nrrd", "0.nrrd", "flow3.nrrd"} <= during.keys()
    assert set(during.values()) == {"C"}
    assert languages[-1] == "de_DE.UTF-8"


def test_the_new_outputs_are_selected_and_shown(panel, pair, scene, app):
    composite = scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode")
    click(panel)
    run = finish(panel, app)
    assert panel.ui.outputTransformSelector.currentNode() is run.transformNode
    assert panel.ui.outputVolumeSelector.currentNode() is run.volumeNode
    assert composite.GetBackgroundVolumeID() == pair[0].GetID()
    assert composite.GetForegroundVolumeID() == run.volumeNode.GetID()
    assert panel.ui.stageLabel.text.startswith("Done in ")
    assert "Took" in panel.ui.costLabel.text


def test_everything_a_run_made_lies_in_one_folder(panel, pair, scene, app):
    click(panel)
    run = finish(panel, app)
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    folders = {tree.GetItemParent(tree.GetItemByDataNode(node)) for node in (run.transformNode, run.volumeNode)}
    assert len(folders) == 1
    assert tree.GetItemName(folders.pop()) == "MRHead to Atlas"


def test_a_result_is_the_same_map_before_the_module_was_ever_opened(panel, pair, scene, app, tmp_path):
    click(panel)
    finish(panel, app)
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    code = f"""
import sys
sys.path.insert(0, {str(ROOT / "Testing")!r})
import standin
app = standin.start()
from pathlib import Path
import slicer
from standin import loader
loader.load_module(Path({str(ROOT / "ULAERegistration" / "ULAERegistration.py")!r}))
assert app.mrmlScene().ReadFromMRB({str(tmp_path / "scene.mrb")!r})
node = app.mrmlScene().GetFirstNodeByClass("vtkMRMLGridTransformNode")
print(node.GetTransformFromParent().GetInterpolationModeAsString())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip().splitlines()[-1] == "Linear", done.stderr


def test_a_result_that_was_saved_and_loaded_is_the_same_map(panel, pair, scene, images, app, tmp_path):
    click(panel)
    name = finish(panel, app).transformNode.GetName()
    points = np.random.default_rng(0).normal(0, 20, (200, 3)) + centre_of(images[0])

    def mapped():
        transform = slicer.util.getNode(name).GetTransformFromParent()
        return np.array([transform.TransformPoint(point * [-1, -1, 1]) for point in points])

    before = mapped()
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    assert np.abs(mapped() - before).max() < 1e-4


def test_existing_outputs_are_overwritten_only_on_success(panel, pair, scene, app):
    click(panel)
    first = finish(panel, app)
    before = state_of(scene)
    behave(panel, "fail", "Writing the warped volume")
    click(panel)
    finish(panel, app)
    assert state_of(scene) == before
    behave(panel)
    click(panel)
    second = finish(panel, app)
    after = state_of(scene)
    assert second.transformNode is first.transformNode
    assert second.volumeNode is first.volumeNode
    assert after.keys() == before.keys()
    changed = {key for key in after if after[key] != before[key]}
    assert changed == {first.transformNode.GetID(), first.volumeNode.GetID()}


def test_registering_twice_into_new_nodes_keeps_both_results(panel, pair, app):
    click(panel)
    first = finish(panel, app)
    panel.ui.outputTransformSelector.setCurrentNode(None)
    panel.ui.outputVolumeSelector.setCurrentNode(None)
    click(panel)
    second = finish(panel, app)
    assert first.transformNode is not second.transformNode
    assert first.transformNode.GetName() != second.transformNode.GetName()
    assert first.volumeNode is not second.volumeNode


def test_the_result_of_another_pair_is_kept(panel, pair, scene, images, app):
    click(panel)
    first = finish(panel, app)
    other = add_volume(scene, images[1], "follow-up")
    panel.ui.movingVolumeSelector.setCurrentNode(other)
    click(panel)
    second = finish(panel, app)
    assert second.transformNode is not first.transformNode
    assert second.volumeNode is not first.volumeNode
    assert second.transformNode.GetName() == f"follow-up to {pair[0].GetName()}"
    assert first.transformNode.GetNodeReference("spatialRegistrationMoving") is pair[1]
    assert panel.ui.outputTransformSelector.currentNode() is second.transformNode


def test_the_warped_volume_of_another_pair_is_kept_whichever_transform_is_selected(panel, pair, scene, images, app):
    click(panel)
    first = finish(panel, app)
    before = slicer.util.arrayFromVolume(first.volumeNode).copy()
    panel.ui.movingVolumeSelector.setCurrentNode(add_volume(scene, images[1] + 100, "follow-up"))
    panel.ui.outputTransformSelector.setCurrentNode(None)  # the volume of the first pair stays selected
    assert panel.ui.outputVolumeSelector.currentNode() is first.volumeNode
    click(panel)
    second = finish(panel, app)
    assert second.volumeNode is not first.volumeNode
    panel.ui.outputVolumeSelector.setCurrentNode(first.volumeNode)  # beside the transform of the second pair
    click(panel)
    assert finish(panel, app).transformNode is second.transformNode
    assert np.array_equal(slicer.util.arrayFromVolume(first.volumeNode), before)
    assert first.volumeNode.GetName() == "MRHead to Atlas, warped"
    assert first.transformNode.GetNodeReference("ULAERegistrationWarped") is first.volumeNode


def test_a_volume_that_is_used_again_is_named_after_what_it_holds_by_now(panel, pair, scene, images, app):
    click(panel)
    first = finish(panel, app)
    scene.RemoveNode(first.transformNode)
    panel.ui.movingVolumeSelector.setCurrentNode(add_volume(scene, images[1], "follow-up"))
    click(panel)
    second = finish(panel, app)
    assert second.volumeNode is first.volumeNode
    assert second.volumeNode.GetName() == "follow-up to Atlas, warped"
    click(panel)
    assert finish(panel, app).volumeNode.GetName() == "follow-up to Atlas, warped"


def test_a_name_that_somebody_has_given_stays(panel, pair, scene, images, app):
    click(panel)
    first = finish(panel, app)
    first.volumeNode.SetName("baseline")
    pair[1].SetName("patient")
    click(panel)
    second = finish(panel, app)
    assert second.volumeNode is first.volumeNode
    assert (second.transformNode.GetName(), second.volumeNode.GetName()) == ("patient to Atlas", "baseline")


def test_two_volumes_of_the_same_name_do_not_mix(panel, scene, images, app):
    fixed, moving = add_volume(scene, images[0], "T1"), add_volume(scene, images[1], "T1")
    click(panel)
    run = finish(panel, app)
    assert run.transformNode.GetNodeReference("spatialRegistrationFixed") is fixed
    assert run.transformNode.GetNodeReference("spatialRegistrationMoving") is moving
    assert run.volumeNode.GetImageData().GetDimensions() == images[0].GetSize()


def test_what_belongs_to_the_moving_volume_is_carried_along_once(panel, pair, scene, images, app):
    labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", "regions")
    set_volume(labels, sitk.Cast(images[1] > 200, sitk.sitkUInt8))
    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "landmarks")
    points.AddControlPoint(centre_of(images[1]) * [-1, -1, 1])
    segments = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "segments")
    slicer.modules.segmentations.logic().ImportLabelmapToSegmentationNode(labels, segments)
    for node in (labels, points, segments):
        panel.ui.carrySelector.check(node)
    names = ["regions to Atlas", "landmarks to Atlas", "segments to Atlas"]
    click(panel)
    first = finish(panel, app)
    assert [node.GetName() for node in first.carriedNodes] == names
    count = scene.GetNumberOfNodes()
    click(panel)
    second = finish(panel, app)
    assert scene.GetNumberOfNodes() == count  # the earlier copies were replaced
    assert panel.ui.diceWarpedSelector.currentNode() is second.carriedNodes[0]
    assert [node.GetName() for node in second.carriedNodes] == names
    assert second.carriedNodes[2].GetNodeReference("referenceImageGeometryRef") is pair[0]
    expected = sitk.Resample(
        sitk.Cast(images[1] > 200, sitk.sitkUInt8), images[0], known_map(*images), sitk.sitkNearestNeighbor
    )
    same = slicer.util.arrayFromVolume(second.carriedNodes[0]) == sitk.GetArrayFromImage(expected)
    assert same.mean() > 0.995


def test_the_report_names_the_volumes_as_the_scene_does(panel, pair, app):
    behave(panel, "hang", ALIGNMENT.message)
    click(panel)
    wait_for_stage(app, panel, ALIGNMENT.message)
    names = [
        read_volume(panel.registerPanel.run.folder / f"{role}.nrrd", role).GetMetaData(NAME)
        for role in ("fixed", "moving")
    ]
    assert names == [node.GetName() for node in pair]
    panel.ui.registerButton.click()


def test_a_node_that_cannot_be_carried_along_does_not_lose_the_registration(panel, pair, scene, app, monkeypatch):
    from ULAERegistrationLib.mrml import carrying

    points = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "landmarks")
    panel.ui.carrySelector.check(points)

    def fail(*_):
        raise IndexError("a fault of our own")

    monkeypatch.setattr(carrying, "carried_along", fail)
    click(panel)
    done = finish(panel, app)
    assert done.transformNode is not None
    assert done.carriedNodes == []
    assert "landmarks could not be carried along (IndexError: a fault of our own)." in done.notes


def test_dice_is_measured_when_both_volumes_have_labels(panel, pair, scene, images, app):
    panel.enter()
    for image, name, selector in zip(images, ("a", "b"), (panel.ui.diceFixedSelector, None), strict=True):
        labels = scene.AddNewNodeByClass("vtkMRMLLabelMapVolumeNode", name)
        set_volume(labels, sitk.Cast(image > 100, sitk.sitkUInt8))
        selector.setCurrentNode(labels) if selector else panel.ui.carrySelector.check(labels)
    click(panel)
    run = finish(panel, app)
    like = sitk.Cast(images[0] > 100, sitk.sitkUInt8)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(like, sitk.Cast(image_from_volume(run.carriedNodes[0]), sitk.sitkUInt8))
    table = panel.ui.qualityTable
    assert table.item(0, 0).text() == "Dice, mean of 1 labels"
    assert float(table.item(0, 1).text()) == pytest.approx(overlap.GetDiceCoefficient(), abs=6e-4)


@pytest.mark.parametrize("which", [0, 1])
def test_volumes_under_a_linear_parent_are_taken_where_they_are(panel, pair, scene, images, app, which):
    parent = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    matrix = np.eye(4)
    matrix[:3, 3] = moved = (30, -20, 10)
    parent.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    pair[which].SetAndObserveTransformNodeID(parent.GetID())
    click(panel)
    run = finish(panel, app)
    moves = [np.array(moved) if which == index else np.zeros(3) for index in (0, 1)]
    centre = centre_of(images[0])
    there = run.transformNode.GetTransformFromParent().TransformPoint(centre * [-1, -1, 1] + moves[0])
    expected = np.array(known_map(*images).TransformPoint(centre)) * [-1, -1, 1] + moves[1]
    assert np.linalg.norm(np.subtract(there, expected)) < 0.1
    origin = np.array(images[0].GetOrigin()) * [-1, -1, 1] + moves[0]
    assert np.allclose(run.volumeNode.GetOrigin(), origin, atol=1e-4)  # in the world, under no transform
    assert run.volumeNode.GetParentTransformNode() is None


def test_a_non_linear_parent_is_a_message_before_anything_runs(panel, pair, scene, app):
    click(panel)
    run = finish(panel, app)
    pair[1].SetAndObserveTransformNodeID(run.transformNode.GetID())
    panel.ui.outputTransformSelector.setCurrentNode(None)
    before = state_of(scene)
    click(panel)
    assert not running(panel)
    assert "MRHead lies under the non-linear transform MRHead to Atlas" in panel.ui.stageLabel.text
    assert state_of(scene) == before


def test_an_output_that_is_an_input_is_a_message(panel, pair, app):
    panel.enter()
    panel.ui.outputVolumeSelector.setCurrentNode(pair[1])
    click(panel)
    assert not running(panel)
    assert "would overwrite an input" in panel.ui.stageLabel.text
