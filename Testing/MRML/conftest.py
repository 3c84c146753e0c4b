"""Layer B: real MRML from the slicer-core wheel, real volumes, no Qt."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

ROOT = Path(__file__).parents[2]
sys.path[:0] = [str(ROOT / "Testing"), str(ROOT / "ULAERegistration")]
os.environ.setdefault("VTK_DEFAULT_OPENGL_WINDOW", "vtkEGLRenderWindow")

import slicer  # noqa: E402
from standin import i18n  # noqa: E402
from standin.mrml_scene import MRML, make_scene  # noqa: E402
from standin.worker import known_map  # noqa: E402

from ULAERegistrationLib.mrml.labels import label_layers  # noqa: E402

# The wheel lacks Slicer's translation, which the parts of the module use for their sentences.
sys.modules["slicer.i18n"] = slicer.i18n = i18n

FIXED, MOVING = "oblique/na16", "oasis/1101"  # fixed: an oblique, left-handed scan of 1.0 x 1.2 x 1.6 mm


def labels_on_grid(node, like) -> dict[str, np.ndarray]:
    """Where each label of a segmentation or label map lies on the grid of an image, by name."""
    return {name: values == value for values, names in label_layers(node, like) for name, value in names.items()}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the file that takes longest, so that two processes end together (see the Makefile)."""
    items.sort(key=lambda item: item.path.name != "test_registration.py")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with `raw/`; tests that need it are skipped elsewhere."""
    folder = Path(os.environ.get("ULAE_DATA", ROOT.parent / "shared" / "data"))
    if not (folder / "raw").is_dir():
        pytest.skip(f"real volumes are not at {folder}; set ULAE_DATA to the folder that holds them")
    return folder


@pytest.fixture(scope="session")
def mrml() -> MRML:
    return make_scene()


@pytest.fixture
def scene(mrml):
    """The application's scene, empty before and after."""
    mrml.scene.Clear(0)
    yield mrml.scene
    mrml.scene.Clear(0)


@pytest.fixture
def load(mrml, scene, data_folder):
    """Loads `nirep/na04` and the like from `raw/` with Slicer's own reader, as volume or label map."""

    def load(name: str, labels: bool = False):
        file = data_folder / "raw" / f"{name}_{'seg' if labels else 't1'}.nii.gz"
        return mrml.logics["Volumes"].AddArchetypeVolume(str(file), Path(name).name, 1 if labels else 0)

    return load


@pytest.fixture
def read(data_folder):
    """Reads the same files with SimpleITK: the oracle."""

    def read(name: str, labels: bool = False) -> sitk.Image:
        return sitk.ReadImage(str(data_folder / "raw" / f"{name}_{'seg' if labels else 't1'}.nii.gz"))

    return read


@pytest.fixture(scope="session")
def known_field(data_folder) -> tuple[sitk.DisplacementFieldTransform, sitk.Image]:
    """A smooth map from the fixed scan to the moving one as field of 2 mm, and the fixed scan."""
    from ULAERegistrationLib.geometry.transforms import displacement_field, field_transform

    fixed = sitk.ReadImage(str(data_folder / "raw" / f"{FIXED}_t1.nii.gz"))
    moving = sitk.ReadImage(str(data_folder / "raw" / f"{MOVING}_t1.nii.gz"))
    return field_transform(displacement_field(known_map(fixed, moving), fixed, 2.0)), fixed
