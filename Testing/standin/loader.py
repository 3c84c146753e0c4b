"""Loads a scripted module as Slicer does: the file, then the module object at start-up, the widget when first shown."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path

import slicer
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property

from .qmrml import qMRMLWidget


class qSlicerScriptedLoadableModule(QtCore.QObject):
    """The application's view of a module."""

    CXX = True
    TEXTS = ("title", "helpText", "acknowledgementText")

    def __init__(self, path: Path):
        super().__init__()
        self._path = path
        self._texts = {}
        self._lists = {}
        self._icon = None
        self._widget = None

    name = Property(str, lambda self: self._path.stem)
    path = Property(str, lambda self: str(self._path))

    def _text(key):  # noqa: N805
        return Property(
            str, lambda self: self._texts.get(key, ""), lambda self, value: self._texts.update({key: value})
        )

    def _strings(key):  # noqa: N805
        return Property(
            "QStringList", lambda self: self._lists.get(key, []), lambda self, value: self._lists.update({key: value})
        )

    title = _text("title")
    helpText = _text("helpText")
    acknowledgementText = _text("acknowledgementText")
    categories = _strings("categories")
    dependencies = _strings("dependencies")
    contributors = _strings("contributors")
    icon = Property("QIcon", lambda self: self._icon, lambda self, icon: setattr(self, "_icon", icon))
    del _text, _strings

    def widgetRepresentation(self):
        if self._widget is None:
            self._widget = qSlicerScriptedLoadableModuleWidget(self._path.stem)
            self._widget.setMRMLScene(slicer.mrmlScene)
            self._widget._setup()
        return self._widget

    def logic(self):
        return None  # scripted modules have none in C++


class qSlicerScriptedLoadableModuleWidget(qMRMLWidget):
    """The panel's frame, in which the module's Python widget is set up."""

    CXX = True

    def __init__(self, name: str):
        super().__init__()
        self._name = name
        self._entered = False
        self._python = None
        self.setLayout(QtWidgets.QVBoxLayout())

    isEntered = Property(bool, lambda self: self._entered)

    def self(self):
        return self._python

    def reload(self) -> None:
        self._setup()  # without enter(), which Slicer does not call either

    def _setup(self) -> None:
        kind = getattr(sys.modules[self._name], f"{self._name}Widget")
        self._python = kind(self)
        setattr(slicer.modules, f"{self._name}Widget", self._python)
        self._python.setup()

    def _enter(self) -> None:
        self._entered = True
        self._python.enter()

    def _exit(self) -> None:
        self._entered = False
        self._python.exit()


def load_module(path: Path):
    """Loads a module file and makes its module object, as at Slicer's start; its widget is not made yet.

    Returns:
        The application's module object; `widgetRepresentation().self()` is the panel.
    """
    folder = str(path.parent)
    if folder not in sys.path:  # the one folder that Slicer adds
        sys.path.insert(0, folder)
    spec = importlib.util.spec_from_file_location(path.stem, path)
    source = importlib.util.module_from_spec(spec)
    sys.modules[path.stem] = source
    spec.loader.exec_module(source)
    module = qSlicerScriptedLoadableModule(path)
    instance = getattr(source, path.stem)(module)
    missing = [name for name in module.dependencies if not hasattr(slicer.modules, name.lower())]
    if missing:
        raise RuntimeError(f"{path.stem} is not loaded, for a module it depends on is missing: {missing}")
    setattr(slicer.modules, path.stem.lower(), module)
    setattr(slicer.modules, f"{path.stem}Instance", instance)
    slicer.app.startupCompleted.emit()
    return module
