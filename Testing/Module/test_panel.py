"""The panel: what it says, and what it chooses."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest
import qt
import slicer
from standin import qmrml
from standin.clicking import add_volume, choose

ROOT = Path(__file__).parents[2]
MODULE = ROOT / "ULAERegistration" / "ULAERegistration.py"


def test_importing_the_module_takes_no_torch_no_simpleitk_and_no_library():
    code = f"""
import sys
sys.path.insert(0, {str(ROOT / "Testing")!r})
import standin
standin.start()
from pathlib import Path
from standin import loader
module = loader.load_module(Path({str(MODULE)!r}))
module.widgetRepresentation()
heavy = ("torch", "SimpleITK", "ULAERegistrationLib", "matplotlib", "scipy")
print([name for name in sys.modules if name.split(".")[0] in heavy])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert done.stdout.strip().splitlines()[-1] == "[]", done.stderr


def test_the_module_introduces_itself(module):
    assert module.title == "ULAE Registration"
    assert module.categories == ("Registration",)
    assert "not for clinical use" in module.helpText
    assert not module.icon.isNull()


def test_the_module_depends_on_the_modules_of_slicer_that_it_uses(module):
    code = "".join(path.read_text(encoding="utf-8") for path in MODULE.parent.rglob("*.py"))
    used = set(re.findall(r"slicer\.modules\.([a-z]+)", code)) - {MODULE.stem.lower()}
    assert {name.lower() for name in module.dependencies} == used


def test_a_fresh_panel_asks_for_its_inputs(panel, scene, images):
    button = panel.ui.registerButton
    assert (button.text, button.enabled) == ("Select a fixed volume", False)
    panel.ui.fixedVolumeSelector.setCurrentNode(add_volume(scene, images[0], "one"))
    assert (button.text, button.enabled) == ("Select a moving volume", False)
    panel.ui.movingVolumeSelector.setCurrentNode(panel.ui.fixedVolumeSelector.currentNode())
    assert (button.text, button.enabled) == ("Select two different volumes", False)
    panel.ui.movingVolumeSelector.setCurrentNode(add_volume(scene, images[1], "two"))
    assert (button.text, button.enabled) == ("Register", True)


def test_two_volumes_in_the_scene_are_taken_as_fixed_and_moving(panel, pair):
    panel.enter()
    assert panel.ui.fixedVolumeSelector.currentNode() is pair[0]
    assert panel.ui.movingVolumeSelector.currentNode() is pair[1]
    assert panel.ui.registerButton.enabled


@pytest.mark.parametrize("version", [5, 6])
@pytest.mark.parametrize(
    ("name", "parameter", "kind"),
    [
        ("movingVolumeSelector", "MovingVolume", "ScalarVolume"),
        ("fixedMaskSelector", "FixedMask", "Segmentation"),
        ("initialTransformSelector", "InitialTransform", "LinearTransform"),
        ("outputTransformSelector", "OutputTransform", "GridTransform"),
        ("outputVolumeSelector", "OutputVolume", "ScalarVolume"),
        ("diceWarpedSelector", "DiceWarped", "Segmentation"),
    ],
)
def test_a_deleted_node_is_chosen_no_longer_and_its_neighbour_is_not_chosen_for_it(
    panel, scene, pair, monkeypatch, version, name, parameter, kind
):
    monkeypatch.setattr(qmrml, "QT_VERSION", version)
    panel.enter()
    one, two = (scene.AddNewNodeByClass(f"vtkMRML{kind}Node", f"{kind} {number}") for number in (1, 2))
    selector = getattr(panel.ui, name)
    selector.setCurrentNode(two)
    scene.RemoveNode(two)
    assert selector.currentNode() is None
    assert panel.parameterNode.GetNodeReferenceID(parameter) is None
    assert scene.GetNodeByID(one.GetID()) is one


@pytest.mark.parametrize("version", [5, 6])
def test_another_node_of_the_same_name_can_be_chosen(panel, scene, images, monkeypatch, version):
    monkeypatch.setattr(qmrml, "QT_VERSION", version)
    volumes = [add_volume(scene, images[0], "T1") for _ in range(3)]
    panel.enter()
    for number, (name, selector) in enumerate(
        (("FixedVolume", panel.ui.fixedVolumeSelector), ("MovingVolume", panel.ui.movingVolumeSelector)), 1
    ):
        choose(selector, volumes[number])
        assert panel.parameterNode.GetNodeReference(name) is volumes[number]
    results = [scene.AddNewNodeByClass("vtkMRMLGridTransformNode", "T1 to T1") for _ in range(2)]
    for node in results:
        choose(panel.ui.outputTransformSelector, node)
        assert panel.result is node


def test_swap_exchanges_volumes_and_masks(panel, scene, pair):
    panel.enter()
    mask = scene.AddNewNodeByClass("vtkMRMLSegmentationNode", "brain")
    panel.ui.fixedMaskSelector.setCurrentNode(mask)
    panel.ui.swapButton.click()
    ui = panel.ui
    assert (ui.fixedVolumeSelector.currentNode(), ui.movingVolumeSelector.currentNode()) == (pair[1], pair[0])
    assert (ui.fixedMaskSelector.currentNode(), ui.movingMaskSelector.currentNode()) == (None, mask)


@pytest.fixture
def belongings(panel, scene, pair):
    """Selectors with what was chosen in them for the fixed and for the moving volume, and the items to carry along."""
    panel.enter()
    chosen = {}
    for selector, kind in (
        (panel.ui.fixedMaskSelector, "Segmentation"),
        (panel.ui.movingMaskSelector, "Segmentation"),
        (panel.ui.initialTransformSelector, "LinearTransform"),
        (panel.ui.diceFixedSelector, "Segmentation"),
    ):
        chosen[selector] = scene.AddNewNodeByClass(f"vtkMRML{kind}Node", f"{kind} {len(chosen)}")
        selector.setCurrentNode(chosen[selector])
    panel.ui.carrySelector.check(chosen[panel.ui.movingMaskSelector])
    return chosen


def still_chosen(panel, belongings) -> list[str]:
    kept = [node.GetName() for selector, node in belongings.items() if selector.currentNode() is node]
    assert panel.binding.carried() == list(panel.ui.carrySelector.checkedNodes())
    return kept + [f"to carry: {node.GetName()}" for node in panel.binding.carried()]


ALL = ["Segmentation 0", "Segmentation 1", "LinearTransform 2", "Segmentation 3", "to carry: Segmentation 1"]


@pytest.mark.parametrize("over_none", [False, True])
def test_another_moving_volume_drops_what_belonged_to_the_former_one(panel, scene, images, belongings, over_none):
    other = add_volume(scene, images[1], "other patient")
    assert still_chosen(panel, belongings) == ALL
    if over_none:
        panel.ui.movingVolumeSelector.setCurrentNode(None)
    panel.ui.movingVolumeSelector.setCurrentNode(other)
    assert panel.ui.movingVolumeSelector.currentNode() is other
    assert still_chosen(panel, belongings) == ["Segmentation 0", "Segmentation 3"]
    said = "No longer chosen, as the volume is another one: Segmentation 1, LinearTransform 2."
    assert panel.ui.stageLabel.text == said
    assert not panel.ui.stageLabel.isHidden()


def test_another_fixed_volume_drops_its_mask_its_labels_and_the_transform_that_led_to_it(
    panel, scene, images, belongings
):
    panel.ui.fixedVolumeSelector.setCurrentNode(add_volume(scene, images[0], "other atlas"))
    assert still_chosen(panel, belongings) == ["Segmentation 1", "to carry: Segmentation 1"]


def test_swap_drops_all_but_the_masks(panel, belongings):
    panel.ui.swapButton.click()
    assert still_chosen(panel, belongings) == []
    assert panel.ui.fixedMaskSelector.currentNode() is belongings[panel.ui.movingMaskSelector]
    assert panel.ui.diceFixedSelector.currentNode() is None


def test_the_same_volumes_and_any_other_choice_drop_nothing(panel, pair, belongings):
    panel.ui.fixedVolumeSelector.setCurrentNode(pair[0])
    panel.ui.movingVolumeSelector.setCurrentNode(pair[1])
    panel.ui.presetComboBox.setCurrentText("Fast")
    assert still_chosen(panel, belongings) == ALL


def test_masks_that_are_chosen_before_any_volume_stay(panel, scene, pair, belongings):
    for name in ("FixedVolume", "MovingVolume"):
        panel.parameterNode.SetNodeReferenceID(name, None)  # nobody has chosen any
    assert panel.ui.movingVolumeSelector.currentNode() is None
    panel.ui.fixedVolumeSelector.setCurrentNode(pair[1])
    panel.ui.movingVolumeSelector.setCurrentNode(pair[0])
    assert still_chosen(panel, belongings) == ALL


@pytest.mark.parametrize("shown", [True, False])
def test_a_volume_that_is_deleted_takes_what_belonged_to_it_with_it(panel, scene, images, pair, belongings, shown):
    if not shown:
        panel.parent._exit()
    scene.RemoveNode(pair[1])
    panel.parent._enter()
    panel.ui.movingVolumeSelector.setCurrentNode(add_volume(scene, images[1], "other patient"))
    assert still_chosen(panel, belongings) == ["Segmentation 0", "Segmentation 3"]


def test_the_cost_of_a_preset_is_said_in_one_line(panel):
    qt.QSettings().remove("ULAERegistration")
    panel.ui.presetComboBox.setCurrentText("Smooth")
    assert panel.ui.costLabel.text.startswith("As accurate, and nothing folds. About ")
    qt.QSettings().setValue("ULAERegistration/Seconds-Fast-auto", 17.4)
    panel.ui.presetComboBox.setCurrentText("Fast")
    assert panel.ui.costLabel.text == "The network alone. Took 17 s here last time."
    panel.ui.deviceComboBox.setCurrentText("cuda")  # no processor's time is said of a graphics card
    assert panel.ui.costLabel.text == "The network alone. Not timed here yet."


def test_every_preset_says_what_it_is_for(panel):
    box = panel.ui.presetComboBox
    texts = [box.itemData(index, qt.Qt.ToolTipRole) for index in range(box.count)]
    assert len(set(texts)) == 3
    assert "many pairs" in texts[0]


@pytest.mark.parametrize(
    ("setting", "box", "choices"),
    [
        ("brain", "brainComboBox", {"Find the brain": "auto", "Require masks": "given", "Take as they are": "skip"}),
        ("contrast", "contrastComboBox", {"Recognise": "auto", "The same": "same", "Different": "different"}),
    ],
)
def test_a_choice_about_the_volumes_is_explained_and_passed_on(panel, pair, monkeypatch, setting, box, choices):
    from ULAERegistrationLib.settings import RegistrationSettings

    panel.enter()
    assert panel.binding.settings()[setting] == getattr(RegistrationSettings(), setting)
    box = getattr(panel.ui, box)
    asked = []
    monkeypatch.setattr(panel.logic, "register", lambda *arguments, **named: asked.append(named))
    for choice, value in choices.items():
        box.setCurrentText(choice)
        assert box.itemData(box.currentIndex, qt.Qt.ToolTipRole)
        panel.ui.registerButton.click()
        assert asked[-1][setting] == value
        panel.ui.swapButton.click()  # any other change brings the panel in line with the node again
        assert box.currentText == choice


def test_nothing_in_the_panel_says_that_a_scan_must_be_stripped(panel):
    for name in ("fixedVolumeSelector", "movingVolumeSelector", "fixedMaskSelector", "movingMaskSelector"):
        text = getattr(panel.ui, name).toolTip
        assert "skull" not in text
        assert "head" in text or "more than the brain" in text


def test_what_is_carried_along_follows_the_scene(panel, scene):
    first = scene.AddNewNodeByClass("vtkMRMLMarkupsFiducialNode", "F")
    panel.ui.carrySelector.check(first)
    scene.AddNewNodeByClass("vtkMRMLModelNode", "M")
    assert panel.binding.carried() == [first]
    scene.RemoveNode(first)
    assert panel.binding.carried() == []


def test_reload_keeps_the_choices_and_leaves_one_panel(panel, pair, module, app):
    panel.enter()
    panel.ui.presetComboBox.setCurrentText("Fast")
    slicer.modules.ULAERegistrationWidget.onReload()
    again = module.widgetRepresentation().self()
    assert again is not panel
    assert again.ui.presetComboBox.currentText == "Fast"
    assert again.ui.fixedVolumeSelector.currentNode() is pair[0]
    assert again.ui.fixedVolumeSelector.mrmlScene() is slicer.mrmlScene
    assert panel.ui.fixedVolumeSelector.mrmlScene() is None
    assert panel.ui.carrySelector.nodeCount() == 0
    slicer.mrmlScene.RemoveNode(pair[0])
    app.processEvents()


def test_a_panel_whose_setup_has_failed_can_be_closed(module, scene, monkeypatch):
    def fail(path):
        raise RuntimeError("no such file")

    monkeypatch.setattr(slicer.util, "loadUI", fail)
    widget = sys.modules["ULAERegistration"].ULAERegistrationWidget(module.widgetRepresentation())
    with pytest.raises(RuntimeError, match="no such file"):
        widget.setup()
    widget.cleanup()
    slicer.app.moduleManager().disconnect("moduleAboutToBeUnloaded(QString)", widget._onModuleAboutToBeUnloaded)


def test_clearing_the_model_file_takes_the_shipped_weights_again(panel):
    edit = panel.ui.modelPathEdit
    edit.setCurrentPath("/models/mine.safetensors")
    assert panel.binding.settings()["model"] == "/models/mine.safetensors"
    edit.setCurrentPath("")
    assert panel.binding.settings()["model"] is None


def test_a_path_can_be_corrected_in_its_middle(panel):
    panel.ui.modelPathEdit.setCurrentPath("/models/mie.safetensors")
    line = panel.ui.modelPathEdit._box.lineEdit()
    line.setCursorPosition(len("/models/mi"))
    line.insert("n")
    assert panel.binding.settings()["model"] == "/models/mine.safetensors"
    assert line.cursorPosition == len("/models/min")


def test_a_file_of_another_kind_is_refused_and_not_passed_over(panel, pair, monkeypatch):
    panel.enter()
    edit = panel.ui.modelPathEdit
    for text in ("/models/mine.safetensors", "/models/mine.tx", "/models/mine.txt"):  # the last one as it is typed on
        edit.setCurrentPath(text)
    asked = []
    monkeypatch.setattr(panel.logic, "register", lambda *arguments, **named: asked.append(named))
    panel.ui.registerButton.click()
    assert asked[0]["model"] == "/models/mine.txt"


def test_the_model_files_that_were_used_are_offered_again_and_none_is_taken_by_itself(panel, pair, module, monkeypatch):
    qt.QSettings().remove("ULAERegistrationModel")
    monkeypatch.setattr(panel.logic, "register", lambda *arguments, **named: None)
    panel.enter()
    for name in ("one", "two"):
        panel.ui.modelPathEdit.setCurrentPath(f"/models/{name}.safetensors")
        panel.ui.registerButton.click()
    assert list(qt.QSettings().value("ULAERegistrationModel")) == ["/models/two.safetensors", "/models/one.safetensors"]
    panel.ui.modelPathEdit.setCurrentPath("")
    slicer.modules.ULAERegistrationWidget.onReload()
    again = module.widgetRepresentation().self()
    assert again.ui.modelPathEdit.currentPath == ""
    assert again.binding.settings()["model"] is None
