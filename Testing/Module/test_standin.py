"""The stand-in is strict: what PythonQt or Slicer's widgets do not have fails here too."""

from __future__ import annotations

import functools

import ctk
import pytest
import qt
import slicer
from standin import loader, pythonqt
from standin.clicking import wait_until


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


def test_names_that_only_the_wheel_has_are_gone(app):
    assert not hasattr(slicer, "loadVolume")
    assert not hasattr(slicer, "getNode")
