"""Draws a MRML 3D view offscreen, with Slicer's own displayable managers."""

from __future__ import annotations

import numpy as np
import slicer
import vtk
from vtk.util import numpy_support

MANAGERS = (
    "vtkMRMLModelDisplayableManager",
    "vtkMRMLTransformsDisplayableManager3D",
    "vtkMRMLSegmentationsDisplayableManager3D",
)
BACKGROUND = (0.05, 0.05, 0.1)


class ThreeDView:
    """One 3D view of a scene.

    Args:
        application: the scene's application logic.
        name: of the view.
        size: width and height in pixels.
    """

    def __init__(self, application, name: str = "View1", size: tuple[int, int] = (420, 420)):
        self.size = size
        self._renderer = vtk.vtkRenderer()
        self._renderer.SetBackground(*BACKGROUND)
        self._window = vtk.vtkRenderWindow()
        self._window.SetOffScreenRendering(1)
        self._window.SetSize(*size)
        self._window.AddRenderer(self._renderer)
        self._interactor = vtk.vtkRenderWindowInteractor()
        self._interactor.SetRenderWindow(self._window)
        factory = slicer.vtkMRMLThreeDViewDisplayableManagerFactory.GetInstance()
        for manager in MANAGERS:
            if not factory.IsDisplayableManagerRegistered(manager):
                factory.RegisterDisplayableManager(manager)
        self._group = slicer.vtkMRMLDisplayableManagerGroup()
        self._group.SetRenderer(self._renderer)
        self._group.Initialize(factory, self._renderer)
        self.logic = slicer.vtkMRMLViewLogic()
        self.logic.SetMRMLApplicationLogic(application)
        application.GetViewLogics().AddItem(self.logic)
        self.logic.SetMRMLScene(application.GetMRMLScene())
        self._group.SetMRMLDisplayableNode(self.logic.AddViewNode(name))

    def look_from(self, right: float, anterior: float, superior: float) -> None:
        """Looks at everything there is from a direction (RAS), head up."""
        camera = self._renderer.GetActiveCamera()
        camera.SetFocalPoint(0, 0, 0)
        camera.SetPosition(right, anterior, superior)
        camera.SetViewUp(0, 0, 1)
        self._renderer.ResetCamera()
        self._renderer.ResetCameraClippingRange()

    def pixels(self) -> np.ndarray:
        """Renders; returns uint8 [height, width, 3], first row on top."""
        self._window.Render()
        grabber = vtk.vtkWindowToImageFilter()
        grabber.SetInput(self._window)
        grabber.ReadFrontBufferOff()
        grabber.Update()
        values = numpy_support.vtk_to_numpy(grabber.GetOutput().GetPointData().GetScalars())
        return values.reshape(self.size[1], self.size[0], -1)[::-1].copy()
