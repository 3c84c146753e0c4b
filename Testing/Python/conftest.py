"""What the tests of the library share: the simulated pair, which runs anywhere, and where the real volumes are."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk

from ULAERegistrationLib.process.memory import keep_freed_memory

BLOCK_MM = 25  # side of the made-up labels

keep_freed_memory()  # as the product's own processes do: an eighth of a registration's time


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark as slow whatever needs the simulated pair, whose registration takes half a minute; and begin with it.

    The file that takes longest comes first, so that two processes end together (see the Makefile).
    """
    items.sort(key=lambda item: item.path.name != "test_registration.py")
    for item in items:
        if "simulated" in getattr(item, "fixturenames", ()):
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
def simulated(tmp_path_factory) -> SimulatedFiles:
    """A pair whose answer is known, for a stranger who has none of our scans."""
    from ULAERegistrationLib.geometry.canonical import template_mask
    from ULAERegistrationLib.geometry.resampling import resample
    from ULAERegistrationLib.simulation import simulate

    pair = simulate()
    mask = template_mask()
    blocks = np.indices(mask.GetSize()[::-1]) // BLOCK_MM
    numbers = 1 + blocks[0] * 100 + blocks[1] * 10 + blocks[2]
    labels = sitk.GetImageFromArray((numbers * (sitk.GetArrayViewFromImage(mask) > 0)).astype(np.int16))
    labels.CopyInformation(mask)
    volumes = {
        "fixed": pair.subject,
        "moving": pair.template,
        "fixed_mask": pair.brain,
        "moving_mask": mask,
        "fixed_labels": resample(labels, pair.subject, pair.truth, labels=True),
        "moving_labels": labels,
    }
    folder = tmp_path_factory.mktemp("simulated")
    for name, volume in volumes.items():
        sitk.WriteImage(volume, str(folder / f"{name}.nii.gz"))
    return SimulatedFiles(**{name: folder / f"{name}.nii.gz" for name in volumes}, truth=pair.truth)


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
    from ULAERegistrationLib.network.weights import load_network, save_network

    file = tmp_path_factory.mktemp("model") / "coarse.safetensors"
    save_network(load_network()[0], file, {"voxel_mm": 4})
    return file
