"""The stand-in is strict: what PythonQt or Slicer's widgets do not have fails here too."""

from __future__ import annotations

import functools

import ctk
import pytest
import qt
import slicer
from standin import loader, pythonqt, qmrml
from standin.clicking import choose, wait_until


def test_properties_are_values_and_not_methods(app):
    button = qt.QPushButton("text")
    assert button.text == "text"
    with pytest.raises(TypeError):
        button.text()
    button.enabled = False
    assert not button.isEnabled()


@pytest.mark.parametrize(
    "make", [lambda: qt.QPushButton(), lambda: ctk.ctkSliderWidget(), lambda: slicer.qMRMLWidget()]
)
def test_a_misspelt_attribute_fails(app, make):
    widget = make()
    with pytest.raises(AttributeError):
        widget.enable = False
    with pytest.raises(AttributeError):
        widget.isEnable()


@pytest.mark.parametrize(
    ("make", "name"),
    [
        (lambda: slicer.qMRMLNodeComboBox(), "setNodeTypes"),
        (lambda: slicer.qMRMLNodeComboBox(), "setNoneEnabled"),
        (lambda: slicer.qMRMLNodeComboBox(), "nodes"),
        (lambda: ctk.ctkSliderWidget(), "setRange"),
        (lambda: ctk.ctkSliderWidget(), "spinBox"),
        (lambda: ctk.ctkCollapsibleButton(), "setCollapsed"),
    ],
)
def test_plain_cxx_methods_cannot_be_called(app, make, name):
    with pytest.raises(AttributeError):
        getattr(make(), name)


def test_a_signal_that_is_not_there_fails(app):
    with pytest.raises(RuntimeError, match="no signal"):
        qt.QComboBox().connect("currentIndexChanged(QString)", print)  # gone since Qt 6


def test_a_method_of_c_plus_plus_cannot_be_replaced(app):
    with pytest.raises(AttributeError):
        qt.QPushButton().click = print


def test_lists_of_strings_come_back_as_tuples(app):
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLModelNode"]
    assert selector.nodeTypes == ("vtkMRMLModelNode",)


def test_numpy_numbers_and_wrong_types_are_refused(app):
    import numpy as np

    spin, label = qt.QSpinBox(), qt.QLabel()
    with pytest.raises(AttributeError):
        spin.value = np.float32(3)
    with pytest.raises(AttributeError):
        label.text = 5


def test_slots_get_as_many_arguments_as_they_can_take():
    assert pythonqt.accepted(lambda: 0, (True,)) == ()
    assert pythonqt.accepted(lambda value=1: 0, (True,)) == (True,)  # a default does not protect
    assert pythonqt.accepted(functools.partial(print, 1), (True,)) == (True,)


def test_an_exception_in_a_slot_or_an_observer_is_noticed(scene):
    button = qt.QPushButton()
    button.connect("clicked()", lambda: 1 / 0)
    button.click()
    assert pythonqt.slot_errors.pop()[0] is ZeroDivisionError

    def observer(caller, event):
        raise KeyError

    tag = scene.AddObserver(scene.NodeAddedEvent, observer)
    scene.AddNewNodeByClass("vtkMRMLModelNode")
    scene.RemoveObserver(tag)
    assert {error[0] for error in pythonqt.slot_errors} == {KeyError}
    pythonqt.slot_errors.clear()


def test_an_object_that_is_deleted_within_its_own_signal_is_noticed(app):
    timers = [qt.QTimer()]
    timers[0].setInterval(0)
    timers[0].connect("timeout()", timers.clear)
    timers[0].start()
    wait_until(app, lambda: not timers)
    assert "within its own signal" in str(pythonqt.slot_errors.pop()[1])


def test_an_unknown_widget_or_property_in_a_ui_file_fails(app, tmp_path):
    for body in (
        '<widget class="qMRMLMagic" name="a"/>',
        '<widget class="QLabel" name="a"><property name="tekst"/></widget>',
        '<widget class="qMRMLCheckableNodeComboBox" name="a"><property name="noneDisplay"/></widget>',
    ):
        file = tmp_path / "bad.ui"
        file.write_text(f'<ui version="4.0"><widget class="QWidget" name="w">{body}</widget></ui>')
        with pytest.raises(RuntimeError, match=r"bad.ui|no property|never shows"):
            slicer.util.loadUI(str(file))


def test_a_module_of_which_a_dependency_is_missing_is_not_loaded(app, tmp_path):
    code = """class Lonely:
    def __init__(self, parent):
        parent.dependencies = ["SampleData"]
"""
    (tmp_path / "Lonely.py").write_text(code)
    with pytest.raises(RuntimeError, match="depends on is missing"):
        loader.load_module(tmp_path / "Lonely.py")


@pytest.fixture
def selector(scene):
    """A selector with "None" and the volumes a, b and c."""
    for name in "abc":
        scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    selector = slicer.qMRMLNodeComboBox()
    selector.nodeTypes = ["vtkMRMLScalarVolumeNode"]
    selector.noneEnabled = True
    selector.setMRMLScene(scene)
    return selector


def heard_from(selector) -> list:
    """What a selector says from now on: names, of nodes that become current and of nodes that were activated."""
    heard = []
    selector.connect("currentNodeChanged(vtkMRMLNode*)", lambda node: heard.append(node and node.GetName()))
    selector.connect("nodeActivated(vtkMRMLNode*)", lambda node: heard.append(("activated", node and node.GetName())))
    return heard


@pytest.mark.parametrize(("deleted", "neighbour"), [("a", None), ("c", "b")])
def test_a_selector_whose_node_is_deleted_jumps_to_the_one_before_it(selector, deleted, neighbour):
    node = slicer.util.getNode(deleted)
    selector.setCurrentNode(node)
    heard = heard_from(selector)
    there = []
    tag = slicer.mrmlScene.AddObserver(slicer.mrmlScene.NodeAboutToBeRemovedEvent, lambda *_: there.extend(heard))
    slicer.mrmlScene.RemoveNode(node)
    slicer.mrmlScene.RemoveObserver(tag)
    assert heard == [neighbour]
    assert not there  # an observer of usual priority comes before


@pytest.mark.parametrize(("version", "told"), [(5, ["b"]), (6, [])])
def test_qt_5_tells_of_the_current_node_again_when_one_before_it_is_deleted(selector, monkeypatch, version, told):
    monkeypatch.setattr(qmrml, "QT_VERSION", version)
    selector.setCurrentNode(slicer.util.getNode("b"))
    heard = heard_from(selector)
    slicer.mrmlScene.RemoveNode(slicer.util.getNode("a"))
    assert heard == told


@pytest.mark.parametrize(("version", "told"), [(5, ["a"]), (6, [])])
def test_qt_6_says_nothing_of_another_node_of_the_same_name_but_that_it_was_activated(
    selector, monkeypatch, version, told
):
    monkeypatch.setattr(qmrml, "QT_VERSION", version)
    selector.setCurrentNode(slicer.util.getNode("a"))
    other = slicer.mrmlScene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", "a")
    heard = heard_from(selector)
    choose(selector, other)
    assert heard == [*told, ("activated", "a")]
    assert selector.currentNode() is other


def test_a_selector_that_has_lost_its_scene_follows_it_no_longer(selector, scene):
    selector.setCurrentNode(slicer.util.getNode("b"))
    heard = heard_from(selector)
    selector.setMRMLScene(None)
    scene.RemoveNode(slicer.util.getNode("b"))
    assert heard == [None]
    assert selector.nodeCount() == 0


def test_a_section_that_is_expanded_keeps_what_was_hidden_in_it(app):
    section = ctk.ctkCollapsibleButton()
    qt.QVBoxLayout(section)
    before, whileShown, whileCollapsed, shownWhileCollapsed, never = labels = [qt.QLabel("text") for _ in range(5)]
    for label in labels:
        section.layout().addWidget(label)
    before.hide()
    shownWhileCollapsed.hide()
    section.show()
    whileShown.hide()
    section.collapsed = True
    assert [label.isVisible() for label in labels] == [False] * 5
    whileCollapsed.hide()
    shownWhileCollapsed.show()
    assert not shownWhileCollapsed.isVisible()
    section.collapsed = False
    assert [label for label in labels if label.isVisible()] == [shownWhileCollapsed, never]
    section.hide()


def test_nothing_becomes_the_text_none(app):
    label = qt.QLabel("text")
    label.text = None
    assert label.text == "None"


def test_names_that_only_the_wheel_has_are_gone(app):
    assert not hasattr(slicer, "loadVolume")
    assert not hasattr(slicer, "getNode")
