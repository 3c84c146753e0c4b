"""Clicking Register: done, cancelled, failed, closed, at every stage, with real processes."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import slicer
from standin.clicking import add_volume, behave, state_of, wait_for_stage, wait_until, worker_command
from standin.worker import STAGES, known_brain, known_map

from ULAERegistrationLib.mrml.labels import mask_image, set_segmentation_from_mask
from ULAERegistrationLib.mrml.volumes import image_from_volume, set_volume

ROOT = Path(__file__).parents[2]


def click(panel) -> None:
    panel.enter()
    panel.ui.registerButton.click()


def running(panel) -> bool:
    return panel.registerPanel.isRunning()


def finish(panel, app):
    wait_until(app, lambda: not running(panel))
    return panel.registerPanel.run


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
    for point in np.random.default_rng(0).normal(0, 20, (100, 3)) + _centre(images[0]):
        ras = run.transformNode.GetTransformFromParent().TransformPoint(point * [-1, -1, 1])
        assert np.linalg.norm(np.multiply(ras, [-1, -1, 1]) - true_map.TransformPoint(point)) < 0.1
    warped = sitk.Resample(images[1], images[0], true_map, sitk.sitkLinear)
    difference = slicer.util.arrayFromVolume(run.volumeNode) - sitk.GetArrayFromImage(warped)
    assert np.abs(difference).mean() < 0.01 * sitk.GetArrayViewFromImage(warped).max()


def _centre(image):
    return np.array(image.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in image.GetSize()]))


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


@pytest.mark.parametrize("stage", STAGES)
def test_cancel_at_every_stage_leaves_the_scene_as_it_was(panel, pair, scene, app, stage):
    panel.enter()
    before = state_of(scene)
    behave(panel, "hang", stage)
    click(panel)
    wait_for_stage(app, panel, stage)
    panel.ui.registerButton.click()
    assert not running(panel)
    assert panel.ui.stageLabel.text == "Cancelled; the scene is as it was."
    assert panel.ui.registerButton.text == "Register"
    app.processEvents()
    assert state_of(scene) == before


@pytest.mark.parametrize("stage", STAGES)
def test_failure_at_every_stage_leaves_the_scene_as_it_was(panel, pair, scene, app, stage):
    panel.enter()
    before = state_of(scene)
    behave(panel, "fail", stage)
    click(panel)
    run = finish(panel, app)
    assert run.state == "failed"
    assert panel.ui.stageLabel.text == run.error
    assert "ZeroDivisionError" in run.error
    assert "Traceback" in panel.ui.logTextEdit.plainText
    assert state_of(scene) == before


def test_after_a_failure_the_next_registration_works(panel, pair, app):
    behave(panel, "crash", "Network, step 2 of 3")
    click(panel)
    assert finish(panel, app).state == "failed"
    behave(panel)
    click(panel)
    assert finish(panel, app).state == "done"


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    [("refuse", "no brain"), ("exhaust", "not enough memory"), ("crash", "want of memory"), ("kill", "want of memory")],
)
def test_every_kind_of_failure_is_one_sentence_on_the_panel(panel, pair, app, behaviour, sentence):
    behave(panel, behaviour, "Network, step 2 of 3")
    click(panel)
    finish(panel, app)
    assert sentence in panel.ui.stageLabel.text
    assert "\n" not in panel.ui.stageLabel.text


def test_what_the_worker_says_is_seen_while_it_runs(panel, pair, app, capsys):
    behave(panel, "talk", "Network, step 1 of 3")
    click(panel)
    wait_until(app, lambda: "something to say" in panel.ui.logTextEdit.plainText)
    assert running(panel)
    shown = capsys.readouterr().out  # Slicer has it in its Python console, and so in the application's log
    assert shown.count("ULAE Registration: a library has something to say\n") == 1
    panel.ui.registerButton.click()


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
    points = np.random.default_rng(0).normal(0, 20, (200, 3)) + _centre(images[0])

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
    behave(panel, "fail", "Writing the report")
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
    points.AddControlPoint(_centre(images[1]) * [-1, -1, 1])
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


def take_for_heads(panel, behaviour: str = "go", stage: str = "nowhere") -> None:
    behave(panel, behaviour, stage, "heads")


def segmentations(scene) -> list[str]:
    return [node.GetName() for node in slicer.util.getNodesByClass("vtkMRMLSegmentationNode", scene)]


def test_the_brains_that_were_found_are_in_the_scene(panel, pair, scene, images, app):
    take_for_heads(panel)
    click(panel)
    run = finish(panel, app)
    assert run.state == "done", run.error + run.log
    nodes = (run.fixedMaskNode, run.movingMaskNode)
    assert [node.GetName() for node in nodes] == ["Atlas brain", "MRHead brain"] == segmentations(scene)
    tree = slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)
    for node, volume, image in zip(nodes, pair, images, strict=True):
        segmentation = node.GetSegmentation()
        assert segmentation.GetNumberOfSegments() == 1
        assert segmentation.GetNthSegment(0).GetName() == "brain"
        assert node.GetNodeReference("referenceImageGeometryRef") is volume
        found = sitk.GetArrayFromImage(mask_image(node, image))
        assert np.array_equal(found, sitk.GetArrayFromImage(known_brain(image)))
        items = [tree.GetItemByDataNode(one) for one in (node, run.transformNode)]
        assert len({tree.GetItemParent(item) for item in items}) == 1
    ui = panel.ui
    assert (ui.fixedMaskSelector.currentNode(), ui.movingMaskSelector.currentNode()) == (None, None)
    assert "The brains that were found are in the scene" in ui.stageLabel.text
    assert "choose them as masks to register again" in ui.logTextEdit.plainText
    assert nodes[0].GetDisplayNode().GetVisibility()
    assert not nodes[1].GetDisplayNode().GetVisibility()  # it lies elsewhere than what is shown


@pytest.mark.parametrize("how", ["known", "brainMasks", "brain", "masks"])
def test_no_brain_comes_into_the_scene_where_none_was_found_wanted_or_needed(module, scene, pair, images, how):
    import ULAERegistration

    logic = ULAERegistration.ULAERegistrationLogic()
    logic.workerCommand = worker_command(registration="known" if how == "known" else "heads")
    more = {
        "known": {},
        "brainMasks": {"outputs": ULAERegistration.Outputs(brainMasks=False)},
        "brain": {"brain": "skip"},
        "masks": {},
    }[how]
    if how == "masks":
        for role, image in zip(("fixed", "moving"), images, strict=True):
            more[f"{role}Mask"] = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "mine")
            set_segmentation_from_mask(more[f"{role}Mask"], known_brain(image), "brain")
    before = segmentations(scene)
    run = logic.register(*pair, acceptLicence=True, **more)
    assert (run.fixedMaskNode, run.movingMaskNode, run.notes) == (None, None, [])
    assert segmentations(scene) == before


@pytest.mark.parametrize(("behaviour", "state"), [("hang", "cancelled"), ("fail", "failed")])
def test_a_run_that_does_not_end_well_leaves_no_brain(panel, pair, scene, app, behaviour, state):
    panel.enter()
    before = state_of(scene)
    take_for_heads(panel, behaviour, "Writing the report")
    click(panel)
    if state == "cancelled":
        wait_for_stage(app, panel, "Writing the report")
        panel.ui.registerButton.click()
    assert finish(panel, app).state == state
    app.processEvents()
    assert state_of(scene) == before


def test_what_the_scene_refuses_takes_the_brains_out_again(panel, pair, scene, app, monkeypatch):
    from ULAERegistrationParts import outputs

    panel.enter()
    before = state_of(scene)
    monkeypatch.setattr(outputs, "putInFolder", lambda *nodes: 1 / 0)
    take_for_heads(panel)
    click(panel)
    run = finish(panel, app)
    assert run.state == "failed"
    assert (run.fixedMaskNode, run.movingMaskNode) == (None, None)
    assert state_of(scene) == before


def test_brains_do_not_pile_up_also_in_a_scene_that_was_loaded(panel, pair, scene, app, tmp_path):
    take_for_heads(panel)
    click(panel)
    first = finish(panel, app)
    click(panel)
    second = finish(panel, app)
    assert (second.fixedMaskNode, second.movingMaskNode) == (first.fixedMaskNode, first.movingMaskNode)
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    take_for_heads(panel)
    click(panel)
    assert finish(panel, app).state == "done"
    assert segmentations(scene) == ["Atlas brain", "MRHead brain"]


def test_a_brain_that_was_corrected_is_not_overwritten_and_can_be_chosen(panel, pair, scene, images, app):
    take_for_heads(panel)
    click(panel)
    first = finish(panel, app)
    corrected = sitk.BinaryErode(known_brain(images[0]), (1, 1, 1))
    set_segmentation_from_mask(first.fixedMaskNode, corrected, "brain")  # as the Segment Editor does
    click(panel)
    second = finish(panel, app)
    assert second.fixedMaskNode is not first.fixedMaskNode
    assert second.movingMaskNode is first.movingMaskNode
    kept = sitk.GetArrayFromImage(mask_image(first.fixedMaskNode, images[0]))
    assert np.array_equal(kept, sitk.GetArrayFromImage(corrected))
    panel.ui.fixedMaskSelector.setCurrentNode(first.fixedMaskNode)
    click(panel)
    third = finish(panel, app)
    assert (third.fixedMaskNode, third.movingMaskNode) == (None, first.movingMaskNode)
    assert "MRHead brain was found and is in the scene" in panel.ui.stageLabel.text


def test_a_brain_moves_with_its_volume(panel, pair, scene, images, app):
    parent = scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "moved")
    matrix = np.eye(4)
    matrix[:3, 3] = 30, -20, 10
    parent.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))
    pair[0].SetAndObserveTransformNodeID(parent.GetID())
    take_for_heads(panel)
    click(panel)
    node = finish(panel, app).fixedMaskNode
    for _ in range(2):
        volume = image_from_volume(pair[0])
        found = sitk.GetArrayFromImage(mask_image(node, volume))
        assert np.array_equal(found, sitk.GetArrayFromImage(known_brain(volume)))
        matrix[:2, 3] = 0
        parent.SetMatrixTransformToParent(slicer.util.vtkMatrixFromArray(matrix))


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
    centre = _centre(images[0])
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


def test_a_registration_that_ends_while_another_module_is_shown_is_selected_when_its_own_is_shown_again(
    panel, pair, app
):
    click(panel)
    panel.parent._exit()
    run = finish(panel, app)
    assert run.state == "done", run.error
    panel.parent._enter()
    assert panel.ui.outputTransformSelector.currentNode() is run.transformNode
    assert panel.ui.outputVolumeSelector.currentNode() is run.volumeNode


def test_closing_the_scene_while_it_runs_ends_it(panel, pair, scene, app):
    behave(panel, "hang", "Network, step 1 of 3")
    click(panel)
    wait_for_stage(app, panel, "Network, step 1 of 3")
    run = panel.registerPanel.run
    scene.Clear(0)
    assert run.state == "cancelled"
    assert (panel.ui.registerButton.text, panel.ui.registerButton.enabled) == ("Select a fixed volume", False)
    app.processEvents()
    assert scene.GetNumberOfNodesByClass("vtkMRMLGridTransformNode") == 0


def test_deleting_the_inputs_while_it_runs_still_gives_the_result(panel, pair, scene, app):
    click(panel)
    for node in pair:
        scene.RemoveNode(node)
    run = finish(panel, app)
    assert run.state == "done", run.error
    assert run.transformNode.GetName() == "moving to fixed"


def test_the_brain_of_a_volume_that_is_gone_is_not_kept(panel, pair, scene, app):
    take_for_heads(panel)
    click(panel)
    scene.RemoveNode(pair[1])
    run = finish(panel, app)
    assert run.state == "done", run.error
    assert run.movingMaskNode is None
    assert segmentations(scene) == ["Atlas brain"]


def test_reloading_the_module_while_it_runs_ends_it(panel, pair, module, app):
    behave(panel, "hang", "Network, step 1 of 3")
    click(panel)
    wait_for_stage(app, panel, "Network, step 1 of 3")
    run = panel.registerPanel.run
    slicer.modules.ULAERegistrationWidget.onReload()
    assert run.state == "cancelled"
    assert module.widgetRepresentation().self().ui.registerButton.text == "Register"


def test_the_logic_registers_without_the_panel(module, scene, pair, app):

    import ULAERegistration

    logic = ULAERegistration.ULAERegistrationLogic()
    logic.workerCommand = worker_command()
    heard = []
    run = logic.register(
        *pair,
        preset="fast",
        outputs=ULAERegistration.Outputs(makeVolume=False),
        acceptLicence=True,
        progress=lambda run: heard.append(run.message),
    )
    assert run.state == "done"
    assert run.volumeNode is None
    assert run.quality["ncc_after"] == 0.55
    assert heard
    assert "fixedVolume" in logic.register.__doc__


def test_closing_the_scene_ends_a_run_of_the_logic_too(module, scene, pair, app):
    import ULAERegistration

    logic = ULAERegistration.ULAERegistrationLogic()
    logic.workerCommand = worker_command()
    ended = []
    run = logic.register(*pair, acceptLicence=True, waitForCompletion=False, finished=ended.append)
    scene.Clear(0)
    assert run.state == "cancelled"
    for _ in range(30):
        app.processEvents()
        time.sleep(0.01)
    assert scene.GetNumberOfNodesByClass("vtkMRMLGridTransformNode") == 0
    assert not ended


def test_the_logic_raises_one_sentence(module, scene, pair):
    import ULAERegistration
    from ULAERegistrationLib.errors import RegistrationError

    logic = ULAERegistration.ULAERegistrationLogic()
    with pytest.raises(RegistrationError, match="the same; select two different"):
        logic.register(pair[0], pair[0], acceptLicence=True)
    with pytest.raises(RegistrationError, match="preset 'quick' is not known"):
        logic.register(*pair, preset="quick")


def test_the_loop_over_a_study_that_is_documented_runs(module, scene, images, app, tmp_path, monkeypatch, capsys):
    """The text of docs/scripting-in-slicer.md as it stands; reading and writing files is Slicer's own."""
    import ULAERegistration

    text = (ROOT / "docs" / "scripting-in-slicer.md").read_text(encoding="utf-8")
    code = text.split("```python\n")[1].split("```")[0]
    assert 'Path("/data/study")' in code
    for number, image in enumerate((*images, images[0])):
        sitk.WriteImage(image, str(tmp_path / f"{number:02d}.nii.gz"))
    (tmp_path / "03.nii.gz").write_bytes(b"this is no scan")
    saved = []

    def load(path):
        node = slicer.modules.volumes.logic().AddArchetypeVolume(path, Path(path).name, 0)
        return node or scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "empty")

    monkeypatch.setattr(slicer.util, "loadVolume", load)
    monkeypatch.setattr(slicer.util, "saveNode", lambda node, path: saved.append(Path(path).name))
    monkeypatch.setattr(ULAERegistration, "pythonExecutable", worker_command)
    exec(code.replace("/data/study", str(tmp_path)), {"slicer": slicer})
    assert saved == ["01-transform.h5", "01-warped.nrrd", "02-transform.h5", "02-warped.nrrd"]
    said = capsys.readouterr().out
    assert "01.nii.gz good The brains match better" in said
    assert "03.nii.gz empty has no voxels" in said
    assert scene.GetNumberOfNodesByClass("vtkMRMLGridTransformNode") == 0
