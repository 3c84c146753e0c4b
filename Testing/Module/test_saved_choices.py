"""The panel's choices live in the scene: they are saved, loaded and imported with it."""

from __future__ import annotations

import zipfile

import qt
import slicer


def choose_everything(panel, scene, pair):
    """Changes every choice of the panel from its default."""
    ui = panel.ui
    ui.fixedVolumeSelector.setCurrentNode(pair[1])
    ui.movingVolumeSelector.setCurrentNode(pair[0])
    mask = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "brain")
    for selector in (ui.fixedMaskSelector, ui.movingMaskSelector, ui.diceFixedSelector, ui.diceWarpedSelector):
        selector.setCurrentNode(mask)
    ui.initialTransformSelector.setCurrentNode(scene.AddNewNodeByClass("vtkMRMLLinearTransformNode", "start"))
    ui.outputTransformSelector.setCurrentNode(scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "out"))
    ui.outputVolumeSelector.setCurrentNode(scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "warped"))
    ui.carrySelector.check(mask)
    ui.warpedCheckBox.click()
    panel.parameterNode.SetParameter("FlowInSlices", "false")  # these boxes wait for steps to be shown
    panel.parameterNode.SetParameter("FlowIn3D", "true")
    ui.keepFilesCheckBox.click()
    ui.presetComboBox.setCurrentText("Smooth")
    ui.deviceComboBox.setCurrentText("cpu")
    ui.flowComboBox.setCurrentText("cumulative")
    ui.modeComboBox.setCurrentText("grid")
    ui.brainComboBox.setCurrentText("Take as they are")
    ui.contrastComboBox.setCurrentText("Different")
    ui.alignmentComboBox.setCurrentText("rigid")
    ui.precisionComboBox.setCurrentText("float32")
    ui.refinementSpinBox.setValue(12)
    ui.smoothnessSlider.setValue(2.5)
    ui.opacitySlider.setValue(0.4)
    ui.modelPathEdit.setCurrentPath("/models/mine.safetensors")


def shown(panel) -> dict:
    """What the panel shows, by widget."""
    ui, values = panel.ui, {}
    for name, widget in vars(ui).items():
        if isinstance(widget, slicer.qMRMLCheckableNodeComboBox):
            values[name] = [node.GetName() for node in widget.checkedNodes()]
        elif isinstance(widget, slicer.qMRMLNodeComboBox):
            values[name] = widget.currentNode().GetName() if widget.currentNode() else None
        elif isinstance(widget, qt.QComboBox) and name.endswith("ComboBox"):
            values[name] = widget.currentText
        elif isinstance(widget, qt.QCheckBox):
            values[name] = widget.checked
        elif name in ("refinementSpinBox", "smoothnessSlider", "opacitySlider"):
            values[name] = widget.value
    values["model"] = ui.modelPathEdit.currentPath
    return values


def test_every_choice_survives_saving_closing_and_loading_the_scene(panel, scene, pair, tmp_path):
    fresh = shown(panel)
    choose_everything(panel, scene, pair)
    chosen = shown(panel)
    unchanged = [name for name in chosen if chosen[name] == fresh[name]]
    # What is looked at just now is no choice to keep, and the licence is accepted for the computer.
    assert sorted(unchanged) == ["differenceComboBox", "licenceCheckBox"]
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    scene.Clear(0)
    assert shown(panel) == fresh
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    assert shown(panel) == chosen
    settings = panel.binding.settings()
    assert settings == {
        "preset": "smooth",
        "device": "cpu",
        "brain": "skip",
        "contrast": "different",
        "alignment": "rigid",
        "precision": "float32",
        "refinement_iterations": 12,
        "smoothness": 2.5,
        "model": "/models/mine.safetensors",
    }


def test_importing_a_scene_into_this_one_leaves_the_choices(panel, scene, pair, tmp_path):
    other = scene.AddNewNodeByClass("vtkMRMLModelNode", "tumour")
    parameters = panel.parameterNode
    scene.RemoveNode(parameters)  # a scene of somebody who has not this module
    assert scene.WriteToMRB(str(tmp_path / "other.mrb"))
    scene.AddNode(parameters)
    panel.enter()
    choose_everything(panel, scene, pair)
    panel.ui.carrySelector.check(other)
    chosen = shown(panel)
    unpacked = tmp_path / "unpacked"
    unpacked.mkdir()
    with zipfile.ZipFile(tmp_path / "other.mrb") as archive:
        archive.extractall(unpacked)
    scene.SetURL(str(next(unpacked.rglob("*.mrml"))))
    assert scene.Import()
    assert shown(panel) == chosen


def test_what_is_carried_along_survives_loading_the_scene(panel, scene, pair, tmp_path):
    names = []
    for kind in ("MarkupsFiducial", "Model", "Segmentation"):
        node = scene.AddNewNodeByClass(f"vtkMRML{kind}Node", kind)
        panel.ui.carrySelector.check(node)
        names.append(kind)
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    assert sorted(node.GetName() for node in panel.binding.carried()) == sorted(names)
    assert sorted(node.GetName() for node in panel.ui.carrySelector.checkedNodes()) == sorted(names)


def test_a_scene_that_is_loaded_while_another_module_is_shown_keeps_its_choices(panel, scene, pair, tmp_path):
    choose_everything(panel, scene, pair)
    chosen = shown(panel)
    assert scene.WriteToMRB(str(tmp_path / "scene.mrb"))
    panel.parent._exit()
    assert scene.ReadFromMRB(str(tmp_path / "scene.mrb"))
    panel.parent._enter()
    assert shown(panel) == chosen


def test_the_panel_does_not_follow_the_choices_while_another_module_is_shown(panel, scene, pair):
    panel.ui.presetComboBox.setCurrentText("Fast")
    node = panel.parameterNode
    panel.parent._exit()
    node.SetParameter("Preset", "Smooth")
    assert panel.ui.presetComboBox.currentText == "Fast"
    panel.parent._enter()
    assert panel.ui.presetComboBox.currentText == "Smooth"


def test_a_choice_that_this_version_does_not_have_becomes_the_usual_one(panel, pair):
    """Scenes of other versions may say "Find the brain by deepbet"."""
    node = panel.parameterNode
    panel.parent._exit()
    node.SetParameter("WholeHeads", "Find the brain by deepbet")
    panel.parent._enter()
    assert panel.ui.brainComboBox.currentText == "Find the brain"
    assert panel.binding.settings()["brain"] == "auto"
