"""A MRML scene with Slicer's own logics around it, from the slicer-core wheel; no Qt.

`make_scene` gives what the application sets up at start: colour tables, module logics, displayable-manager factories,
slice orientation presets, and the caches that saving a scene as .mrb needs.
"""

from __future__ import annotations

import sys
import tempfile
import types
from dataclasses import dataclass, field
from pathlib import Path

import slicer
import slicer.util
import vtk

MODULE_LOGICS = {
    "Volumes": "vtkSlicerVolumesLogic",
    "Transforms": "vtkSlicerTransformLogic",
    "Segmentations": "vtkSlicerSegmentationsModuleLogic",
    "SubjectHierarchy": "vtkSlicerSubjectHierarchyModuleLogic",
    "Sequences": "vtkSlicerSequencesLogic",
    "Markups": "vtkSlicerMarkupsLogic",
    "Models": "vtkSlicerModelsLogic",
}


@dataclass
class MRML:
    """A scene and what must stay alive with it: the scene keeps only weak references to its logics."""

    scene: slicer.vtkMRMLScene
    application: slicer.vtkSlicerApplicationLogic
    logics: dict[str, vtk.vtkObject] = field(default_factory=dict)
    keep: list = field(default_factory=list)


class CoreModule:
    """What `slicer.modules.volumes` and its like are to Python: something with a logic."""

    def __init__(self, name: str, logic):
        self.name = name
        self._logic = logic

    def logic(self):
        return self._logic


class SequencesModule(CoreModule):
    """`slicer.modules.sequences`, whose toolbar has one sequence browser as its active one."""

    def __init__(self, name: str, logic):
        super().__init__(name, logic)
        self._active = None

    def setToolBarActiveBrowserNode(self, browser) -> None:
        self._active = browser


def make_scene() -> MRML:
    """Makes the scene, and the names Slicer gives it: `slicer.mrmlScene`, `slicer.modules.<name>`."""
    _use_stderr()
    _forget_wheel_extras()
    scene = slicer.vtkMRMLScene()
    crosshair = slicer.vtkMRMLCrosshairNode()
    crosshair.SetCrosshairName("default")
    scene.AddNode(crosshair)

    application = slicer.vtkSlicerApplicationLogic()
    application.SetMRMLScene(scene)
    mrml = MRML(scene, application)
    colors = _color_logic(application, mrml.keep)
    colors.SetMRMLScene(scene)
    colors.AddDefaultColorNodes()
    application.SetModuleLogic("Colors", colors)
    application.SetSliceLogics(vtk.vtkCollection())
    application.SetViewLogics(vtk.vtkCollection())
    for factory in (
        slicer.vtkMRMLSliceViewDisplayableManagerFactory,
        slicer.vtkMRMLThreeDViewDisplayableManagerFactory,
    ):
        factory.GetInstance().SetMRMLApplicationLogic(application)
    mrml.logics["Colors"] = colors
    for name, class_name in MODULE_LOGICS.items():
        logic = getattr(slicer, class_name)()
        logic.SetMRMLScene(scene)
        logic.SetMRMLApplicationLogic(application)
        application.SetModuleLogic(name, logic)
        mrml.logics[name] = logic
    slicer.vtkMRMLSliceNode.AddDefaultSliceOrientationPresets(scene, True)
    _add_caches(mrml)
    _keep_hierarchy(scene)
    slicer.mrmlScene = scene
    slicer.modules = types.ModuleType("slicer.modules")
    sys.modules["slicer.modules"] = slicer.modules
    for name, logic in mrml.logics.items():
        kind = SequencesModule if name == "Sequences" else CoreModule
        setattr(slicer.modules, name.lower(), kind(name, logic))
    return mrml


def _use_stderr() -> None:
    window = vtk.vtkOutputWindow()
    window.SetDisplayModeToAlwaysStdErr()
    vtk.vtkOutputWindow.SetInstance(window)


def _forget_wheel_extras() -> None:
    """The wheel copies `slicer.util`'s names into `slicer`; Slicer does not, so code leaning on it must fail here."""
    for name in slicer.util.__all__:
        if getattr(slicer, name, None) is getattr(slicer.util, name, None):
            slicer.__dict__.pop(name, None)


def _keep_hierarchy(scene) -> None:
    """Gives every data node its item in the subject hierarchy and takes it away, as the application's plugins do."""

    def hierarchy():
        return slicer.vtkMRMLSubjectHierarchyNode.GetSubjectHierarchyNode(scene)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def added(caller, event, node) -> None:
        shown = node.IsA("vtkMRMLStorableNode") and not node.GetHideFromEditors() and not scene.IsImporting()
        if shown and not hierarchy().GetItemByDataNode(node):
            hierarchy().CreateItem(hierarchy().GetSceneItemID(), node)

    @vtk.calldata_type(vtk.VTK_OBJECT)
    def removed(caller, event, node) -> None:
        item = 0 if scene.IsClosing() else hierarchy().GetItemByDataNode(node)
        if item:
            hierarchy().RemoveItem(item, False)

    scene.AddObserver(scene.NodeAddedEvent, added)
    scene.AddObserver(scene.NodeAboutToBeRemovedEvent, removed)


def _color_logic(application, keep: list):
    """The logic of the Colors module, with an empty folder for the colour files that come with the application."""
    folder = tempfile.TemporaryDirectory(prefix="standin-home-")
    keep.append(folder)
    (Path(folder.name) / "share" / "ColorFiles").mkdir(parents=True)
    application.SetHomeDirectory(folder.name)
    application.SetShareDirectory("share")
    logic = slicer.vtkSlicerColorLogic()
    logic.SetMRMLApplicationLogic(application)
    return logic


def _add_caches(mrml: MRML) -> None:
    folder = tempfile.TemporaryDirectory(prefix="standin-cache-")
    cache, io = slicer.vtkCacheManager(), slicer.vtkDataIOManager()
    cache.SetRemoteCacheDirectory(str(Path(folder.name)))
    io.SetCacheManager(cache)
    mrml.scene.SetCacheManager(cache)
    mrml.scene.SetDataIOManager(io)
    mrml.keep += [folder, cache, io]
