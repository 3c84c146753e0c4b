"""Where the scans are that a benchmark measures on: see docs/data.md."""

from __future__ import annotations

import os
from pathlib import Path

DATA = Path(os.environ.get("ULAE_DATA", Path(__file__).parents[3] / "shared" / "data"))
