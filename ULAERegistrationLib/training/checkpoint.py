"""The checkpoint of a run, which the run goes on from; it is not for shipping."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch

from ..errors import RegistrationError
from ..files.writing import whole_or_nothing
from .recipe import TrainingSettings

FILE = "checkpoint.pt"


def write_checkpoint(folder: Path, state: dict[str, Any]) -> None:
    """Write what a run goes on from, completely or not at all."""
    with whole_or_nothing(folder / FILE) as partial:
        torch.save(state, partial)


def read_checkpoint(folder: Path, device: torch.device | str = "cpu") -> dict[str, Any] | None:
    """Read what a run goes on from, onto a device; None where the folder has no checkpoint.

    Raises:
        RegistrationError: where the checkpoint is damaged, or an earlier version wrote it.
    """
    if not (folder / FILE).exists():
        return None
    try:
        state = torch.load(folder / FILE, map_location=device, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError):
        state = {}
    if "settings" not in state:
        raise RegistrationError(
            f"{folder / FILE} is damaged, or an earlier version wrote it; begin a new run in another folder, with "
            f"--start-from the weights of this one."
        )
    return state


def settings_of(folder: Path) -> TrainingSettings:
    """Return the settings of the run in a folder; this version's defaults where it has no checkpoint.

    Raises:
        RegistrationError: as `read_checkpoint`.
    """
    state = read_checkpoint(folder)
    return TrainingSettings.from_json(state["settings"]) if state else TrainingSettings()
