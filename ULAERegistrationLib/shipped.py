"""Where the files lie that come with the package: the weights, the template, and their cards."""

from __future__ import annotations

from pathlib import Path

MODELS = Path(__file__).with_name("models")
