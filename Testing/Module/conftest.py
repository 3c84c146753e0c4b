"""Layer C: the shipped panel on real MRML in the stand-in application; every test fails on an exception in a slot."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest
import SimpleITK as sitk

os.environ.setdefault("QT_QPA_PLATFORM", "offscreen")
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")
ROOT = Path(__file__).parents[2]
MODULE = ROOT / "ULAERegistration" / "ULAERegistration.py"
sys.path.insert(0, str(ROOT / "Testing"))

import standin  # noqa: E402
from standin import pythonqt  # noqa: E402
from standin.clicking import add_volume, behave, click, finish, leftovers  # noqa: E402

APPLICATION = standin.start()  # before the tests import qt


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the file that takes longest, so that two processes end together (see the Makefile)."""
    items.sort(key=lambda item: item.path.name != "test_real_runs.py")


@pytest.fixture(scope="session")
def app():
    return APPLICATION


@pytest.fixture(scope="session")
def module(app):
    """The loaded module, as the application sees it; it looks for its process's news more often than for a user."""
    from standin import loader

    loaded = loader.load_module(MODULE)
    sys.modules[MODULE.stem].POLL_MILLISECONDS = 20
    return loaded


@pytest.fixture(autouse=True)
def no_slot_exception():
    pythonqt.slot_errors.clear()
    yield
    assert not pythonqt.slot_errors


@pytest.fixture
def scene(app):
    app.mrmlScene().Clear(0)
    yield app.mrmlScene()
    app.mrmlScene().Clear(0)


@pytest.fixture
def panel(module, scene):
    """The module's panel, shown in an empty scene; its registrations take no time (see standin/worker.py)."""
    from ULAERegistrationParts import licence

    licence.setAccepted(True)
    frame = module.widgetRepresentation()
    frame._enter()
    behave(frame.self())
    yield frame.self()
    frame.self().logic.cancelAll()
    frame._exit()


@pytest.fixture(scope="session")
def images(tmp_path_factory) -> tuple[sitk.Image, sitk.Image]:
    """Two of the real scans, one oblique, at a quarter of their resolution; phantoms where there is no data."""
    folder = Path(os.environ.get("ULAE_DATA", ROOT.parent / "shared" / "data")) / "raw"
    if not folder.is_dir():
        return tuple(sitk.GaussianSource(size=[40, 44, 36], sigma=[9] * 3, mean=[20 + x, 22, 18]) for x in (0, 3))
    names = ("oblique/na16_t1.nii.gz", "oasis/1101_t1.nii.gz")
    return tuple(sitk.BinShrink(sitk.ReadImage(str(folder / name)), [4, 4, 4]) for name in names)


@pytest.fixture
def boxes(app, monkeypatch):
    """Message boxes are shown, as to a user; in testing mode, where the other tests are, they are only logged."""
    import ctk
    import qt

    window = qt.QMainWindow()
    window.objectName = "qSlicerMainWindow"  # without one, errors are only logged as well
    monkeypatch.setattr(app, "_testing", False)
    ctk.ctkMessageBox.shown.clear()
    yield ctk.ctkMessageBox.shown
    assert ctk.ctkMessageBox.answers == []
    window.deleteLater()


@pytest.fixture
def pair(scene, images):
    """A fixed and a moving volume in the scene."""
    return add_volume(scene, images[0], "Atlas"), add_volume(scene, images[1], "MRHead")


@pytest.fixture
def done(panel, pair, app, scene):
    """A finished registration, in three slice views."""
    views = [scene.AddNewNodeByClass("vtkMRMLSliceCompositeNode") for _ in range(3)]
    click(panel)
    run = finish(panel, app)
    assert run.state == "done", run.error + run.log
    return SimpleNamespace(run=run, views=views, ui=panel.ui)


@pytest.fixture(scope="session", autouse=True)
def own_temporary_folder(tmp_path_factory):
    """Whatever else runs on this machine has its temporary folders elsewhere."""
    tempfile.tempdir = str(tmp_path_factory.mktemp("temporary"))
    yield
    tempfile.tempdir = None


@pytest.fixture(autouse=True)
def nothing_left_behind():
    yield
    assert leftovers() == ([], [])
