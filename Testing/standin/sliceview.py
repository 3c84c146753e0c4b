"""Draws MRML slice views offscreen, with Slicer's own slice logic and displayable managers.

In Slicer the image itself is drawn by a Qt widget, so here an image mapper stands behind the overlays.
"""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

MANAGERS = (
    "vtkMRMLTransformsDisplayableManager2D",
    "vtkMRMLSegmentationsDisplayableManager2D",
    "vtkMRMLColorLegendDisplayableManager",
)


class SliceView:
    """One slice view of a scene.

    Args:
        application: the scene's application logic.
        name: of the view, such as "Red".
        orientation: "Axial", "Sagittal" or "Coronal".
        size: width and height in pixels.
    """

    def __init__(self, application, name: str, orientation: str, size: tuple[int, int] = (420, 420)):
        self.size = size
        self._renderer = vtk.vtkRenderer()
        overlay = vtk.vtkRenderer()
        overlay.SetLayer(1)
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetMultiSamples(0)
        self._window.SetNumberOfLayers(2)
        self._window.SetSize(*size)
        for renderer in (self._renderer, overlay):
            renderer.GetActiveCamera().ParallelProjectionOn()
            self._window.AddRenderer(renderer)
        self._interactor = vtk.vtkRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)

        factory = slicer.vtkMRMLSliceViewDisplayableManagerFactory.GetInstance()
        for manager in MANAGERS:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self._group = slicer.vtkMRMLDisplayableManagerGroup()
        self._group.SetRenderer(self._renderer)
        self._group.Initialize(factory, self._renderer)

        self.logic = slicer.vtkMRMLSliceLogic()
        self.logic.SetMRMLApplicationLogic(application)
        application.GetSliceLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(application.GetMRMLScene())
        node = self.logic.AddSliceNode(name)
        node.SetOrientation(orientation)
        self._group.SetMRMLDisplayableNode(node)

        self._mapper = vtk.vtkImageMapper()
        self._mapper.SetColorWindow(255)
        self._mapper.SetColorLevel(127.5)
        actor = vtk.vtkActor2D()
        actor.SetMapper(self._mapper)
        actor.GetProperty().SetDisplayLocationToBackground()
        self._renderer.AddViewProp(actor)
        self.logic.ResizeSliceNode(*size)

    def fit(self) -> None:
        """Centres the view on the background volume."""
        self.logic.FitSliceToBackground()
        self.logic.SnapSliceOffsetToIJK()

    def pixels(self) -> np.ndarray:
        """Renders; returns uint8 [height, width, 3], first row on top."""
        self._mapper.SetInputConnection(self.logic.GetImageDataConnection())  # another one for other layers
        self._window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self._window)
        grabber.ReadFrontBufferOff()
        grabber.Update()
        values = numpy_support.vtk_to_numpy(grabber.GetOutput().GetPointData().GetScalars())
        return values.reshape(self.size[1], self.size[0], -1)[::-1].copy()
