"""The qMRML widgets the module uses, with the properties, slots and signals their C++ headers declare."""

from __future__ import annotations

import functools

import slicer
import vtk
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal, Slot

from .qt import widget

ADD, RENAME = "<create new>", "<rename>"  # entries of the list that are actions
# Slicer is built with either. Of the two, Qt 5 tells of a current node again when its row moves, and Qt 6 tells of
# another current node only where that has another name.
QT_VERSION = 6


def _remove(observed: list, *_) -> None:
    while observed:
        scene, tag = observed.pop()
        scene.RemoveObserver(tag)


@widget
class qMRMLWidget(QtWidgets.QWidget):
    """A widget that knows the scene."""

    mrmlSceneChanged = Signal(object)
    SIGNALS = {"mrmlSceneChanged(vtkMRMLScene*)": "mrmlSceneChanged"}  # noqa: RUF012

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene) -> None:
        self._scene = scene
        self.mrmlSceneChanged.emit(scene)


@widget
class qMRMLNodeComboBox(QtWidgets.QWidget):
    """A list of the scene's nodes of some types, with one of them current."""

    _node_changed = Signal(object)
    _valid_changed = Signal(bool)
    currentNodeIDChanged = Signal(str)
    nodeActivated = Signal(object)
    nodeAdded = Signal(object)
    nodeAddedByUserAction = Signal(object)
    SIGNALS = {  # noqa: RUF012
        "currentNodeChanged(vtkMRMLNode*)": "_node_changed",
        "currentNodeChanged(bool)": "_valid_changed",
        "nodeActivated(vtkMRMLNode*)": "nodeActivated",
        "nodeAdded(vtkMRMLNode*)": "nodeAdded",
        "nodeAddedByUserAction(vtkMRMLNode*)": "nodeAddedByUserAction",
    }

    def __init__(self, parent=None):
        super().__init__(parent)
        self._scene = None
        self._current = ""
        self._text = ""  # that is displayed
        self._leaving = None  # a node that is about to be removed from the scene
        self._observed: list = []  # scenes, and the tags of what observes them
        self.destroyed.connect(functools.partial(_remove, self._observed))
        self._types: list[str] = []
        self._hidden_types: list[str] = []
        self._flags = {
            "noneEnabled": False,
            "addEnabled": True,
            "removeEnabled": True,
            "editEnabled": False,
            "renameEnabled": False,
            "showHidden": False,
            "showChildNodeTypes": True,
            "selectNodeUponCreation": True,
        }
        self._none_display = "None"
        self._base_name = ""
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._list = QtWidgets.QComboBox()
        row.addWidget(self._list)
        self._list.activated.connect(self._on_activated)

    # --- Q_PROPERTYs ---

    def _flag(name):  # noqa: N805 - makes class attributes
        def write(self, value):
            self._flags[name] = value
            self._fill()

        return Property(bool, lambda self: self._flags[name], write)

    noneEnabled = _flag("noneEnabled")
    addEnabled = _flag("addEnabled")
    removeEnabled = _flag("removeEnabled")
    editEnabled = _flag("editEnabled")
    renameEnabled = _flag("renameEnabled")
    showHidden = _flag("showHidden")
    showChildNodeTypes = _flag("showChildNodeTypes")
    selectNodeUponCreation = _flag("selectNodeUponCreation")
    del _flag

    def _set_types(self, types) -> None:
        self._types = list(types)
        self._fill()

    def _set_hidden_types(self, types) -> None:
        self._hidden_types = list(types)
        self._fill()

    def _set_none_display(self, text: str) -> None:
        self._none_display = text
        self._fill()

    nodeTypes = Property("QStringList", lambda self: self._types, _set_types)
    hideChildNodeTypes = Property("QStringList", lambda self: self._hidden_types, _set_hidden_types)
    noneDisplay = Property(str, lambda self: self._none_display, _set_none_display)
    baseName = Property(str, lambda self: self._base_name, lambda self, name: setattr(self, "_base_name", name))
    currentNodeID = Property(str, lambda self: self._current, lambda self, node_id: self.setCurrentNodeID(node_id))

    # --- invokable methods and slots ---

    def mrmlScene(self):
        return self._scene

    def setMRMLScene(self, scene) -> None:
        if scene is self._scene:
            return
        _remove(self._observed)
        self._scene = scene
        if scene is None:
            self._list.clear()
            self._select("")
        else:
            reactions = (  # with the priorities of qMRMLSceneModel
                (scene.NodeAddedEvent, self._on_added, 10.0),
                (scene.NodeAboutToBeRemovedEvent, self._on_leaving, -10.0),
                (scene.NodeRemovedEvent, self._on_removed, 10.0),
                (scene.EndCloseEvent, self._on_rebuilt, 0.0),
                (scene.EndImportEvent, self._on_rebuilt, 0.0),
            )
            self._observed += [(scene, scene.AddObserver(*reaction)) for reaction in reactions]
        self._fill()

    def currentNode(self):
        return self._scene.GetNodeByID(self._current) if self._scene and self._current else None

    def setCurrentNode(self, node) -> None:
        self.setCurrentNodeID(node if isinstance(node, str) else node.GetID() if node else "")

    @Slot(str)
    def setCurrentNodeID(self, node_id: str) -> None:
        known = node_id if node_id and self._list.findData(node_id) >= 0 else ""
        self._list.setCurrentIndex(self._list.findData(known))
        self._select(known)

    def nodeCount(self) -> int:
        return len(self._nodes())

    def nodeFromIndex(self, index: int):
        nodes = self._nodes()
        return nodes[index] if index < len(nodes) else None

    def addNode(self, node_type: str = ""):
        name = self._scene.GenerateUniqueName(self._base_name) if self._base_name else ""
        node = self._scene.AddNewNodeByClass(node_type or self._types[0], name)
        self.nodeAddedByUserAction.emit(node)
        self.setCurrentNode(node)
        return node

    def addAttribute(self, node_type: str, name: str, value=None) -> None:
        raise NotImplementedError("not needed by this module so far")

    # --- inside ---

    def _accepts(self, node) -> bool:
        if node.GetHideFromEditors() and not self._flags["showHidden"]:
            return False
        if any(node.IsA(hidden) for hidden in self._hidden_types):
            return False
        children = self._flags["showChildNodeTypes"]
        return any(node.IsA(kind) if children else node.GetClassName() == kind for kind in self._types)

    def _nodes(self) -> list:
        if self._scene is None:
            return []
        every = (self._scene.GetNthNode(index) for index in range(self._scene.GetNumberOfNodes()))
        return [node for node in every if node and node is not self._leaving and self._accepts(node)]

    def _on_added(self, caller, event) -> None:
        if not self._scene.IsImporting():  # the list is made anew at the end
            self._fill()

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def _on_leaving(self, caller, event, node) -> None:
        if self._scene.IsClosing():
            return
        self._leaving = node
        self._fill()

    def _on_removed(self, caller, event) -> None:
        self._leaving = None

    def _on_rebuilt(self, caller, event) -> None:
        """After a scene was closed or imported the whole list is made anew, and what was current is lost with it.

        Every selector does so by itself, one after another, and tells it.
        """
        self._select("")
        self._fill()

    def _fill(self) -> None:
        if self._scene is None:
            return
        nodes = self._nodes()
        row = self._list.currentIndex
        neighbour = self._list.itemData(row - 1) if row > 0 else None
        blocker = QtCore.QSignalBlocker(self._list)
        self._list.clear()
        if self._flags["noneEnabled"]:
            self._list.addItem(self._none_display, "")
        for node in nodes:
            self._list.addItem(node.GetName(), node.GetID())
        if self._flags["addEnabled"]:
            self._list.addItem("Create new...", ADD)
        if self._flags["renameEnabled"]:
            self._list.addItem("Rename...", RENAME)
        ids = [node.GetID() for node in nodes]
        chosen = "" if self._flags["noneEnabled"] or not ids else ids[0]
        if self._current in ids:
            chosen = self._current
        elif self._current and neighbour in ids:  # as a QComboBox does when its current row is removed
            chosen = neighbour
        self._list.setCurrentIndex(self._list.findData(chosen))
        blocker.unblock()
        self._select(chosen, moved=self._list.currentIndex != row)

    def _select(self, node_id: str, moved: bool = False) -> None:
        other, renamed = node_id != self._current, self._list.currentText != self._text
        self._current, self._text = node_id, self._list.currentText
        if not (other or moved if QT_VERSION == 5 else renamed):
            return
        node = self.currentNode()
        self._node_changed.emit(node)
        self._valid_changed.emit(node is not None)
        self.currentNodeIDChanged.emit(node_id)

    def _on_activated(self, index: int) -> None:
        chosen = self._list.itemData(index)
        if chosen == ADD:
            self.addNode()
        elif chosen != RENAME:
            self._select(chosen or "")
            self.nodeActivated.emit(self.currentNode())


@widget
class qMRMLCheckableNodeComboBox(qMRMLNodeComboBox):
    """A list of nodes, any number of them checked.

    CTK paints what is checked by itself, "None" and "All" included, whatever `noneDisplay` says.
    """

    WITHOUT_EFFECT = ("noneDisplay",)

    checkedNodesChanged = Signal()

    def __init__(self, parent=None):
        super().__init__(parent)
        self._checked: list[str] = []

    def checkedNodes(self) -> tuple:
        return tuple(node for node in self._nodes() if node.GetID() in self._checked)

    def noneChecked(self) -> bool:
        return not self.checkedNodes()

    def checkState(self, node):
        checked = node is not None and node.GetID() in self._checked
        return QtCore.Qt.Checked if checked else QtCore.Qt.Unchecked

    def setCheckState(self, node, state) -> None:
        if state == self.checkState(node):
            return
        if state == QtCore.Qt.Checked:
            self._checked.append(node.GetID())
        else:
            self._checked.remove(node.GetID())
        self._show_checked()
        self.checkedNodesChanged.emit()

    def check(self, node) -> None:
        self.setCheckState(node, QtCore.Qt.Checked)

    def uncheck(self, node) -> None:
        self.setCheckState(node, QtCore.Qt.Unchecked)

    def _fill(self) -> None:
        super()._fill()
        # The mark goes with the node: a later one may get its ID.
        self._checked = [node.GetID() for node in self._nodes() if node.GetID() in self._checked]
        self._show_checked()

    def _on_rebuilt(self, caller, event) -> None:
        """The marks are lost with the list."""
        had, self._checked = bool(self._checked), []
        super()._on_rebuilt(caller, event)
        if had:
            self.checkedNodesChanged.emit()

    def _show_checked(self) -> None:
        names, count = [node.GetName() for node in self.checkedNodes()], self.nodeCount()
        text = "None" if not names else "All" if len(names) == count else ", ".join(names)
        blocker = QtCore.QSignalBlocker(self._list)
        self._list.setPlaceholderText(text)
        self._list.setCurrentIndex(-1)
        blocker.unblock()


for _kind in (qMRMLWidget, qMRMLNodeComboBox, qMRMLCheckableNodeComboBox):
    setattr(slicer, _kind.__name__, _kind)
