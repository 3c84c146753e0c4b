"""The `qt` module a scripted module imports: PySide6's classes under PythonQt's rules (see `pythonqt`)."""

from __future__ import annotations

import xml.etree.ElementTree as ET
from pathlib import Path

from PySide6 import QtCore, QtGui, QtUiTools, QtWidgets

for _module in (QtCore, QtGui, QtWidgets):
    globals().update({name: getattr(_module, name) for name in dir(_module) if name.startswith("Q")})

custom_widgets: dict[str, type] = {}  # the ctk and qMRML stand-ins, by class name


def widget(kind: type) -> type:
    """Class decorator: lets .ui files use a stand-in widget, and marks it as a C++ class for `pythonqt`."""
    kind.CXX = True
    custom_widgets[kind.__name__] = kind
    return kind


class QUiLoader(QtUiTools.QUiLoader):
    """Loads a .ui file; refuses classes that are neither Qt's nor a stand-in's, of which Qt makes plain widgets."""

    def __init__(self, parent=None):
        super().__init__(parent)
        for kind in custom_widgets.values():
            self.registerCustomWidget(kind)

    def load(self, device, parent=None):
        root = ET.parse(device.fileName()).getroot()
        for element in root.iter("widget"):
            name = element.get("class")
            if name not in custom_widgets and not hasattr(QtWidgets, name):
                raise RuntimeError(f"{Path(device.fileName()).name} uses the unknown widget class {name}")
            for child in element.findall("property"):
                self._check_property(name, child.get("name"), dynamic=child.get("stdset") == "0")
        links = root.find("connections")
        connections = [{part.tag: part.text for part in link} for link in root.iter("connection")]
        if links is not None:
            root.remove(links)  # signals that carry VTK objects are unknown to Qt; all are made below
        buffer = QtCore.QBuffer()
        buffer.setData(ET.tostring(root))
        buffer.open(QtCore.QIODevice.ReadOnly)
        loaded = super().load(buffer, parent)
        if loaded is None:
            raise RuntimeError(f"{device.fileName()} cannot be loaded: {self.errorString()}")

        def find(name):
            return loaded if loaded.objectName == name else loaded.findChild(QtCore.QObject, name)

        for link in connections:
            find(link["sender"]).connect(link["signal"], find(link["receiver"]), link["slot"])
        return loaded

    @staticmethod
    def _check_property(class_name: str, name: str, dynamic: bool) -> None:
        kind = custom_widgets.get(class_name) or getattr(QtWidgets, class_name)
        if not dynamic and kind.staticMetaObject.indexOfProperty(name) < 0:
            raise RuntimeError(f"the .ui file sets {class_name}.{name}, which is no property")
        if name in getattr(kind, "WITHOUT_EFFECT", ()):
            raise RuntimeError(f"the .ui file sets {class_name}.{name}, which that widget never shows")


class QFileDialog(QtWidgets.QFileDialog):
    """PythonQt returns the path alone. `answers` is what the next dialogs return, since nobody is there to choose.

    `proposed` is what the last one proposed.
    """

    answers: list[str] = []  # noqa: RUF012 - shared on purpose, tests fill it
    proposed = ""

    @staticmethod
    def getSaveFileName(parent=None, caption="", directory="", name_filter=""):
        QFileDialog.proposed = directory
        return QFileDialog.answers.pop(0)

    getOpenFileName = getExistingDirectory = getSaveFileName
