"""What tests need to click through the panel and to see what it did."""

from __future__ import annotations

import gc
import sys
import tempfile
import time
from pathlib import Path

import psutil
import SimpleITK as sitk
from PySide6 import QtCore

WORKER = Path(__file__).parent / "worker.py"
LAUNCHER = Path(__file__).parent / "launcher.py"
WAIT_SECONDS = 200  # a real registration on a busy machine


def worker_command(behaviour: str = "go", stage: str = "nowhere", registration: str = "known") -> list[str]:
    """The command of a computing process that does as it is told (see `worker`), started as Slicer's Python is."""
    return [sys.executable, str(LAUNCHER), sys.executable, str(WORKER), registration, behaviour, stage]


def behave(panel, *told: str) -> None:
    """Tells the panel's next registrations what to do, with the arguments of `worker_command`."""
    panel.logic.workerCommand = worker_command(*told)


def add_volume(scene, image: sitk.Image, name: str):
    from ULAERegistrationLib.mrml.volumes import set_volume

    node = scene.AddNewNodeByClass("vtkMRMLScalarVolumeNode", name)
    set_volume(node, image)
    node.CreateDefaultDisplayNodes()
    return node


def choose(selector, node) -> None:
    """Chooses a node in a selector as the user does, from its list."""
    row = selector._list.findData(node.GetID() if node is not None else "")
    selector._list.setCurrentIndex(row)
    selector._list.activated.emit(row)


def click(panel) -> None:
    panel.enter()
    panel.ui.registerButton.click()


def running(panel) -> bool:
    return panel.registerPanel.isRunning()


def finish(panel, app):
    """Waits for the end of the panel's registration, however it ends, and of all after it, and gives its run."""
    wait_until(app, lambda: not running(panel))
    run = panel.registerPanel.run
    wait_until(app, lambda: run is None or run.complete)
    return run


def wait_until(app, condition, seconds: float = WAIT_SECONDS) -> None:
    """Lets the application work until something is so."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited too long"
        app.processEvents()
        time.sleep(0.01)


def wait_for_stage(app, panel, stage: str) -> None:
    """Lets the panel's registration come to a stage; it must be told to stay there, for others are seen by chance."""
    run = panel.registerPanel.run
    wait_until(app, lambda: run.state != "running" or panel.ui.stageLabel.text.startswith(stage))
    assert run.state == "running", f"it did not stay at {stage}: {run.state}. {run.error} {run.log}"


def let_go() -> None:
    """Lets everything die that Slicer would let die by now: Qt's deferred deletions, and Python's own cycles."""
    QtCore.QCoreApplication.sendPostedEvents(None, QtCore.QEvent.DeferredDelete)
    gc.collect()


def state_of(scene) -> dict[str, tuple]:
    """Everything of a scene that a cancelled or failed registration must leave alone."""
    state = {}
    for index in range(scene.GetNumberOfNodes()):
        node = scene.GetNthNode(index)
        if node.IsA("vtkMRMLScriptedModuleNode"):
            continue
        data = node.GetImageData() if node.IsA("vtkMRMLVolumeNode") else None
        grid = node.GetTransformFromParent() if node.IsA("vtkMRMLTransformNode") else None
        state[node.GetID()] = (node.GetName(), data and data.GetMTime(), grid and grid.GetMTime())
    return state


def leftovers() -> tuple[list[int], list[str]]:
    """Processes and temporary folders of registrations that are still there."""
    children = [
        child.pid for child in psutil.Process().children(recursive=True) if child.status() != psutil.STATUS_ZOMBIE
    ]
    folders = [str(path) for path in Path(tempfile.gettempdir()).glob("ulae-*")]
    return children, folders
