"""What the tests of the library share: the simulated pair, which runs anywhere, and where the real volumes are.

And a pair of grids that is as awkward as scanners make them, with flows between, for the tests of frames and signs.
"""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.memory import keep_freed_memory

if TYPE_CHECKING:
    from ULAERegistrationLib.geometry.alignment import Alignment
    from ULAERegistrationLib.simulation import SimulatedPair

# The files that take longest, so that two processes which begin with them end together (see the Makefile).
LONGEST = (
    "test_registration.py",
    "test_alignment.py",
    "test_one_person.py",
    "test_documents.py",
    "test_training.py",
    "test_going_on.py",
    "test_labels_and_people.py",
    "test_saved_result.py",
    "test_preparation.py",
    "test_contrasts.py",
    "test_parallel.py",
    "test_job.py",
    "test_brain_extraction.py",
    "test_evaluation.py",
    "test_cluster.py",
    "test_verdicts.py",
    "test_cli.py",
    "test_extractor_training.py",
)
BLOCK_MM = 25  # side of the made-up labels

keep_freed_memory()  # as the product's own processes do: an eighth of a registration's time


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the longest files, and mark as slow whatever needs a pair registered."""
    places = {name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path.name, len(LONGEST)))
    for item in items:
        if {"simulated_pair", "quick_registration"} & set(getattr(item, "fixturenames", ())):
            item.add_marker("slow")


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with `brains/`, `raw/` and `labelmaps/`; tests that need it are skipped elsewhere."""
    default = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("ULAE_DATA", default))
    if not (folder / "brains").is_dir():
        pytest.skip(f"real volumes are not at {folder}; set ULAE_DATA to the folder that holds them")
    return folder


@dataclass(frozen=True)
class SimulatedFiles:
    """The simulated pair as files: an oblique, left-handed, anisotropic subject (fixed) and the template (moving).

    The labels are blocks of the template's brain, carried to the subject by the true map.
    """

    fixed: Path
    moving: Path
    fixed_mask: Path
    moving_mask: Path
    fixed_labels: Path
    moving_labels: Path
    truth: sitk.Transform


@pytest.fixture(scope="session")
def simulated_pair() -> SimulatedPair:
    """A pair whose answer is known, for a stranger who has none of our scans."""
    from ULAERegistrationLib.simulation import simulate

    return simulate()


@pytest.fixture(scope="session")
def simulated(simulated_pair, tmp_path_factory) -> SimulatedFiles:
    """The same as files."""
    from ULAERegistrationLib.geometry.canonical import template_mask
    from ULAERegistrationLib.geometry.resampling import resample

    pair, mask = simulated_pair, template_mask()
    labels = _blocks(mask)
    volumes = {
        "fixed": pair.subject,
        "moving": pair.template,
        "fixed_mask": pair.brain,
        "moving_mask": mask,
        "fixed_labels": resample(labels, pair.subject, pair.truth, labels=True),
        "moving_labels": labels,
    }
    return SimulatedFiles(**_written(volumes, tmp_path_factory.mktemp("simulated")), truth=pair.truth)


def _blocks(mask: sitk.Image) -> sitk.Image:
    """Labels of the mask's voxels: a number for each cube of `BLOCK_MM`."""
    blocks = [
        indices * step // BLOCK_MM
        for indices, step in zip(np.indices(mask.GetSize()[::-1]), mask.GetSpacing()[::-1], strict=True)
    ]
    numbers = 1 + blocks[0] * 100 + blocks[1] * 10 + blocks[2]
    labels = sitk.GetImageFromArray((numbers * (sitk.GetArrayViewFromImage(mask) > 0)).astype(np.int16))
    labels.CopyInformation(mask)
    return labels


def _written(volumes: dict[str, sitk.Image], folder: Path) -> dict[str, Path]:
    for name, volume in volumes.items():
        sitk.WriteImage(volume, str(folder / f"{name}.nii.gz"))
    return {name: folder / f"{name}.nii.gz" for name in volumes}


@pytest.fixture(scope="session")
def simulated_progress() -> list[tuple[float, str]]:
    """What the registration of the simulated pair told while it ran."""
    return []


@pytest.fixture(scope="session")
def simulated_registration(simulated, simulated_progress):
    """The simulated pair registered by the network alone, in float32, which every processor computes."""
    from ULAERegistrationLib import register

    return register(
        simulated.fixed,
        simulated.moving,
        preset="fast",
        precision="float32",
        device="cpu",
        progress=lambda fraction, message: simulated_progress.append((fraction, message)),
    )


@pytest.fixture(scope="session")
def browser():
    """A real browser without a window; tests that need it are skipped where there is none."""
    selenium = pytest.importorskip("selenium.webdriver", reason="selenium is not installed")
    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    driver = shutil.which("chromedriver")
    if chromium is None or driver is None:
        pytest.skip("there is no browser; on Debian: apt-get install chromium chromium-driver")
    options = selenium.ChromeOptions()
    options.binary_location = chromium
    for argument in ("--headless=new", "--no-sandbox", "--disable-gpu", "--window-size=1100,1000"):
        options.add_argument(argument)
    options.set_capability("goog:loggingPrefs", {"browser": "ALL"})
    window = selenium.Chrome(options=options, service=selenium.ChromeService(driver))
    yield window
    window.quit()


@pytest.fixture(scope="session")
def coarse_model(tmp_path_factory) -> Path:
    """The shipped weights, made to run on 4 mm voxels: quick, for tests to which it does not matter what they find."""
    return _on_voxels(4, tmp_path_factory.mktemp("model"))


def _on_voxels(voxel_mm: int, folder: Path) -> Path:
    from ULAERegistrationLib.network.weights import load_network, save_network

    save_network(load_network()[0], folder / "coarse.safetensors", {"voxel_mm": voxel_mm})
    return folder / "coarse.safetensors"


@pytest.fixture
def upright(monkeypatch) -> None:
    """One start of the alignment's search instead of 27, to be quick: enough where the heads are hardly tilted."""
    from ULAERegistrationLib.geometry import brain_search

    monkeypatch.setattr(brain_search, "TILTS", (0.0,))


@dataclass(frozen=True)
class ShiftedFiles:
    """The template on voxels of 2 mm (fixed), and the same 10 mm away (moving), as files, each with labels."""

    fixed: Path
    moving: Path
    fixed_labels: Path
    moving_labels: Path


@pytest.fixture(scope="session")
def shifted(tmp_path_factory) -> ShiftedFiles:
    from ULAERegistrationLib.geometry.canonical import template, template_mask

    brain = sitk.BinShrink(template(), [2, 2, 2])
    mask = sitk.Resample(template_mask(), brain, sitk.Transform(), sitk.sitkNearestNeighbor)
    volumes = {"fixed": brain, "fixed_labels": _blocks(mask)}
    for name, volume in tuple(volumes.items()):
        moving = sitk.Image(volume)
        moving.SetOrigin(np.add(volume.GetOrigin(), (3, -5, 8)).tolist())
        volumes[name.replace("fixed", "moving")] = moving
    return ShiftedFiles(**_written(volumes, tmp_path_factory.mktemp("shifted")))


@pytest.fixture(scope="session")
def quick_settings(tmp_path_factory) -> dict[str, str]:
    """What a registration of the shifted pair takes to be quick: the network alone finds the shift, on 2 mm voxels.

    For tests to which it does not matter what is found: how results are written, named and handed on.
    """
    return {
        "preset": "fast",
        "alignment": "none",
        "model": str(_on_voxels(2, tmp_path_factory.mktemp("model"))),
        "precision": "float32",
        "device": "cpu",
    }


@pytest.fixture(scope="session")
def quick_registration(shifted, quick_settings):
    """The shifted pair registered."""
    from ULAERegistrationLib import register

    return register(shifted.fixed, shifted.moving, **quick_settings)


@dataclass(frozen=True)
class ObliquePair:
    """Two oblique, anisotropic, left-handed scans far apart, and a map from the first to the second.

    `flows` are three smooth steps in voxels of the canonical grid, `total` their composition; `points` are world points
    of the fixed image all over the canonical brain, off the voxels.
    """

    fixed: sitk.Image
    moving: sitk.Image
    alignment: Alignment
    flows: list[np.ndarray]
    total: np.ndarray
    transform: sitk.CompositeTransform
    points: np.ndarray


@pytest.fixture(scope="session")
def oblique() -> ObliquePair:
    from ULAERegistrationLib.flows.warp import compose_all
    from ULAERegistrationLib.geometry.alignment import Alignment
    from ULAERegistrationLib.geometry.transforms import total_transform
    from ULAERegistrationLib.tensors import array_of, tensor_of

    z, y, x = np.indices((60, 90, 100))
    fixed = sitk.GetImageFromArray((1000 + 300 * np.sin(x / 6) + 300 * np.cos(y / 7 + z / 5)).astype(np.int16))
    fixed.SetSpacing((1.9, 2.1, 2.7))
    rotation = np.reshape(sitk.Euler3DTransform((0, 0, 0), 0.3, -0.2, 0.25).GetMatrix(), (3, 3))
    fixed.SetDirection((rotation @ np.diag([-1, 1, 1])).ravel())
    fixed.SetOrigin((400.0, -200.0, 50.0))
    moving = sitk.PermuteAxes(fixed, (2, 0, 1))
    moving.SetOrigin((-50.0, 30.0, 500.0))
    centre = (0.0, 17.0, 5.0)
    alignment = Alignment(
        fixed_to_canonical=_affine((-0.3, 0.2, -0.25), 1.1, _middle(fixed), centre),
        moving_to_canonical=_affine((0.2, 0.1, 0.3), 1.05, _middle(moving), centre),
    )
    flows = [_smooth_flow(0, 6.0), _smooth_flow(1, 3.0), _smooth_flow(2, 1.5)]
    total = array_of(compose_all([tensor_of(flow)[None] for flow in flows])[0])
    canonical = np.random.default_rng(3).uniform((-60, -55, -50), (60, 90, 65), (400, 3))
    back = alignment.fixed_to_canonical.GetInverse()
    points = np.array([back.TransformPoint(point) for point in canonical.tolist()])
    return ObliquePair(fixed, moving, alignment, flows, total, total_transform(total, alignment), points)


def _affine(angles: tuple[float, float, float], scale: float, from_point, to_point) -> sitk.AffineTransform:
    """Turns and scales, and takes one point to another."""
    rotation = np.reshape(sitk.Euler3DTransform((0, 0, 0), *angles).GetMatrix(), (3, 3))
    transform = sitk.AffineTransform(3)
    transform.SetMatrix((scale * rotation).ravel())
    transform.SetTranslation(np.subtract(to_point, transform.TransformPoint(from_point)).tolist())
    return transform


def _middle(image: sitk.Image) -> tuple[float, ...]:
    return image.TransformContinuousIndexToPhysicalPoint([(size - 1) / 2 for size in image.GetSize()])


def _smooth_flow(seed: int, size: float) -> np.ndarray:
    """Random waves of 40 to 100 voxels, largest displacement `size` voxels along an axis, [3, L, P, S]."""
    from ULAERegistrationLib.geometry.frame import CANONICAL_SIZE

    rng = np.random.default_rng(seed)
    axes = np.ogrid[tuple(slice(size) for size in CANONICAL_SIZE)]
    flow = np.zeros((3, *CANONICAL_SIZE), np.float32)
    for channel in range(3):
        for _ in range(3):
            direction = rng.normal(size=3)
            direction *= 2 * np.pi / (rng.uniform(40, 100) * np.linalg.norm(direction))
            phase = sum(k * axis for k, axis in zip(direction, axes, strict=True)) + rng.uniform(0, 2 * np.pi)
            flow[channel] += np.sin(phase)
    return flow * np.float32(size / np.abs(flow).max())
