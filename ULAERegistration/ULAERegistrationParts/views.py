"""The slice views: layers of a result in all of them, or three volumes side by side in rows, and the way back."""

from __future__ import annotations

import slicer
import vtk

from . import maps

# The views of Slicer's layout of three by three slices, row by row; all axial where the user never changed them.
ROWS = (("Red", "Yellow", "Green"), ("Slice4", "Slice5", "Slice6"), ("Slice7", "Slice8", "Slice9"))
COLUMNS = ("Axial", "Sagittal", "Coronal")


class Views:
    """What the sections of the panel show volumes in.

    Args:
        button: the one that is pressed while volumes are side by side.
    """

    def __init__(self, button):
        self._button = button
        self._before = None  # the layout and what every slice view showed, while volumes are side by side

    def showLayers(self, **layers) -> None:
        """Shows volumes in all views, as `maps.showLayers`; no longer side by side, which this would destroy."""
        self.release()
        maps.showLayers(**layers)

    def showSideBySide(self, fixed, moving, warped) -> None:
        """Shows three volumes in a row each; views are linked, so that slices of one orientation go together.

        :param warped: volume; None leaves its row empty, as it does for the others.
        """
        manager = slicer.app.layoutManager()
        if self._before is None:
            self._before = (manager.layout, _shown(), _planes())
        manager.setLayout(slicer.vtkMRMLLayoutNode.SlicerLayoutThreeByThreeSliceView)
        views, slices = _named("vtkMRMLSliceCompositeNode"), _named("vtkMRMLSliceNode")
        for row, volume in zip(ROWS, (fixed, moving, warped), strict=True):
            for name, orientation in zip(row, COLUMNS, strict=True):
                slices[name].SetOrientation(orientation)
                view = views[name]
                view.SetLinkedControl(True)
                view.SetBackgroundVolumeID(volume.GetID() if volume is not None else None)
                view.SetForegroundVolumeID(None)
                view.SetLabelVolumeID(None)
        slicer.app.processEvents()  # in which views that the layout has made get their size
        _fit()

    def release(self) -> None:
        """Releases the button if volumes are side by side, which brings the views back."""
        if self._before is not None:
            self._button.checked = False

    def back(self) -> None:
        """Brings layout and views back; what was deleted meanwhile stays away."""
        if self._before is None:
            return
        (layout, shown, planes), self._before = self._before, None
        slicer.app.layoutManager().setLayout(layout)
        for name, view in _named("vtkMRMLSliceCompositeNode").items():
            background, foreground, label, opacity, linked = shown.get(name, (None, None, None, 1.0, 0))
            view.SetBackgroundVolumeID(background)
            view.SetForegroundVolumeID(foreground)
            view.SetLabelVolumeID(label)
            view.SetForegroundOpacity(opacity)
            view.SetLinkedControl(linked)
        _fit()
        for name, node in _named("vtkMRMLSliceNode").items():
            if name in planes:
                node.GetSliceToRAS().DeepCopy(planes[name])
                node.UpdateMatrices()

    def forget(self) -> None:
        """The scene is gone, and with it what its views showed."""
        self._before = None


def _named(className: str) -> dict:
    """The nodes of the views, by the names of the views."""
    return {node.GetLayoutName(): node for node in slicer.util.getNodesByClass(className)}


def _shown() -> dict[str, tuple]:
    return {
        name: (
            view.GetBackgroundVolumeID(),
            view.GetForegroundVolumeID(),
            view.GetLabelVolumeID(),
            view.GetForegroundOpacity(),
            view.GetLinkedControl(),
        )
        for name, view in _named("vtkMRMLSliceCompositeNode").items()
    }


def _planes() -> dict:
    """Where the slices lie."""
    planes = {}
    for name, node in _named("vtkMRMLSliceNode").items():
        planes[name] = vtk.vtkMatrix4x4()
        planes[name].DeepCopy(node.GetSliceToRAS())
    return planes


def _fit() -> None:
    logics = slicer.app.layoutManager().mrmlSliceLogics()
    for index in range(logics.GetNumberOfItems()):
        logics.GetItemAsObject(index).FitSliceToBackground()
