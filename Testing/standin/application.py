"""`slicer.app`: the parts of the application object that scripted modules talk to."""

from __future__ import annotations

import importlib
import sys
import tempfile

import slicer
import slicer.util
from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal, Slot

from . import extensions, i18n, mrml_scene


class ModuleManager(QtCore.QObject):
    """Tells modules that they are about to go."""

    CXX = True
    moduleAboutToBeUnloaded = Signal(str)
    moduleLoaded = Signal(str)


class LayoutManager(QtCore.QObject):
    """The views: a layout's number, and the nodes its slice views have in the scene; nothing is drawn.

    The views that tests draw by `sliceview` are among the slice logics of the application logic.
    """

    CXX = True
    THREE_BY_THREE = ("Red", "Yellow", "Green", *(f"Slice{number}" for number in range(4, 10)))

    def __init__(self):
        super().__init__()
        self._layout = slicer.vtkMRMLLayoutNode.SlicerLayoutFourUpView
        self._sized = True  # whether the views of the layout have got their size, as they do with the next events

    def _set_layout(self, layout: int) -> None:
        self._layout = layout
        self._sized = False
        QtCore.QTimer.singleShot(0, lambda: setattr(self, "_sized", True))
        if layout != slicer.vtkMRMLLayoutNode.SlicerLayoutThreeByThreeSliceView:
            return
        for name in self.THREE_BY_THREE:  # as the slice widgets do that the layout makes; all of them axial
            for kind in ("vtkMRMLSliceNode", "vtkMRMLSliceCompositeNode"):
                if slicer.mrmlScene.GetSingletonNode(name, kind) is None:
                    node = slicer.mrmlScene.CreateNodeByClass(kind)  # with the scene's orientations
                    node.UnRegister(None)
                    node.SetSingletonTag(name)
                    node.SetLayoutName(name)
                    slicer.mrmlScene.AddNode(node)

    layout = Property(int, lambda self: self._layout, _set_layout)

    @Slot(int)
    def setLayout(self, layout: int) -> None:
        self._set_layout(layout)

    def sliceViewNames(self) -> tuple:
        return ()

    def threeDViewCount(self) -> int:  # a property in Slicer's header; nothing here reads it
        return 0

    def mrmlSliceLogics(self):
        return slicer.app.applicationLogic().GetSliceLogics()


class Application(QtWidgets.QApplication):
    """The one application: a scene, its logics, settings of its own, and no main window."""

    CXX = True
    startupCompleted = Signal()

    def __init__(self):
        self._folder = tempfile.TemporaryDirectory(prefix="standin-app-")
        super().__init__(sys.argv[:1])
        QtCore.QCoreApplication.setOrganizationName("ULAE-standin")
        QtCore.QSettings.setPath(QtCore.QSettings.IniFormat, QtCore.QSettings.UserScope, self._folder.name)
        QtCore.QSettings.setDefaultFormat(QtCore.QSettings.IniFormat)
        self._mrml = mrml_scene.make_scene()
        self._manager = ModuleManager()
        self._layout = LayoutManager()
        self._extensions = extensions.qSlicerExtensionsManagerModel()
        self._testing = True
        slicer.app = self
        sys.modules["slicer.i18n"] = slicer.i18n = i18n
        from . import loader, qmrml, sample_data  # noqa: F401 - qmrml adds its widgets to `slicer`

        sys.modules["SampleData"] = sample_data

        scripted = importlib.import_module(".scripted", __package__)
        sys.modules["slicer.ScriptedLoadableModule"] = slicer.ScriptedLoadableModule = scripted
        slicer.qSlicerScriptedLoadableModuleWidget = loader.qSlicerScriptedLoadableModuleWidget
        slicer.qSlicerScriptedLoadableModule = loader.qSlicerScriptedLoadableModule

    temporaryPath = Property(str, lambda self: self._folder.name)
    defaultScenePath = Property(str, lambda self: f"{self._folder.name}/Documents")
    applicationName = Property(str, lambda self: "Slicer stand-in")
    slicerHome = Property(str, lambda self: "")

    def mrmlScene(self):
        return self._mrml.scene

    def applicationLogic(self):
        return self._mrml.application

    def moduleManager(self):
        return self._manager

    def layoutManager(self):
        return self._layout

    def extensionsManagerModel(self):
        return self._extensions

    def testingEnabled(self) -> bool:
        return self._testing

    def settings(self):
        return QtCore.QSettings()

    userSettings = settings

    def pauseRender(self) -> None:
        pass

    def resumeRender(self) -> None:
        pass
