"""Where the real volumes are; layer A runs without Slicer."""

from __future__ import annotations

import os
from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def data_folder() -> Path:
    """The folder with `brains/`, `raw/` and `labelmaps/`; tests that need it are skipped elsewhere."""
    default = Path(__file__).parents[3] / "shared" / "data"
    folder = Path(os.environ.get("ULAE_DATA", default))
    if not (folder / "brains").is_dir():
        pytest.skip(f"real volumes are not at {folder}; set ULAE_DATA to the folder that holds them")
    return folder
