"""`slicer.app.extensionsManagerModel()`: installs an extension from the server, asking by itself as Slicer's does."""

from __future__ import annotations

from PySide6 import QtCore
from PySide6.QtCore import Property


class qSlicerExtensionsManagerModel(QtCore.QObject):
    """The part of the model that modules call; the server and the user are what tests make of them.

    Attributes, all the tests' own:
        _agrees: what the user answers when the model asks whether to install.
        _works: whether the server can be reached.
        _asked: the questions the model has put.
        _installed: the extensions it has installed.
        _restarts: how often it would have restarted the application.
    """

    CXX = True

    def __init__(self):
        super().__init__()
        self._interactive = True
        self._agrees = self._works = True
        self._asked: list[str] = []
        self._installed: list[str] = []
        self._restarts = 0

    interactive = Property(
        bool, lambda self: self._interactive, lambda self, value: setattr(self, "_interactive", value)
    )

    def isExtensionInstalled(self, name: str) -> bool:
        return name in self._installed

    def installExtensionFromServer(self, name: str, restart: bool = True, update: bool = False) -> bool:
        """As in qSlicerExtensionsManagerModel.cxx: a question, the installation, and by default another question."""
        if self.isExtensionInstalled(name):
            return True
        if self._interactive:
            self._asked.append(f"Do you want to install '{name}' now?")
            if not self._agrees:
                return False
        if not self._works:
            return False
        self._installed.append(name)
        if restart:
            self._asked.append("Slicer must be restarted. Do you want to restart now?")
            self._restarts += 1
        return True
