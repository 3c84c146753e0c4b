"""The checkpoint of a run, which the run goes on from; it is not for shipping."""

from __future__ import annotations

import pickle
from collections.abc import Sequence
from dataclasses import asdict
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


def check_gradient(norm: torch.Tensor, steps: int) -> None:
    """Refuse a gradient that is not finite, before it makes the weights so, and the next checkpoint.

    Args:
        norm: of the gradient; in several processes it is that of all.
        steps: that the run has made so far.

    Raises:
        RegistrationError: where it is not finite, which a loss that is not finite leads to.
    """
    if not norm.isfinite():
        raise RegistrationError(
            f"The loss or its gradient is no number any more after {steps} steps; begin a new run in another folder, "
            f"with a lower learning_rate or another seed, and --start-from the weights of this one."
        )


def settings_of(folder: Path) -> TrainingSettings:
    """Return the settings of the run in a folder; this version's defaults where it has no checkpoint.

    Raises:
        RegistrationError: as `read_checkpoint`.
    """
    state = read_checkpoint(folder)
    return TrainingSettings.from_json(state["settings"]) if state else TrainingSettings()


def check_that_it_goes_on(
    state: dict[str, Any],
    folder: Path,
    *,
    settings: TrainingSettings,
    people: Sequence[str],
    history: Sequence[dict] | None,
    processes: int,
) -> None:
    """Refuse to go on with another recipe, on other people, from another start, or in other processes.

    Args:
        state: of the checkpoint.
        folder: of the run.
        settings: that are asked for.
        people: who trains.
        history: earlier runs that led to the weights that are given to start from; None where none are given.
        processes: how many train together.

    Raises:
        RegistrationError: where something differs, with what to do.
    """
    begun, given = asdict(TrainingSettings.from_json(state["settings"])), asdict(settings)
    if different := [name for name, value in given.items() if value != begun[name]]:
        raise RegistrationError(
            f"The run in {folder} was begun with other settings ({', '.join(different)}); go on without --settings, or "
            f"begin a new run in another folder, with --start-from the weights of this one."
        )
    if others := set(state["people"]) ^ set(people):
        raise RegistrationError(
            f"The run in {folder} was begun on other people than this packed data has ({min(others)} is in one alone); "
            f"give the data that it was begun on, or begin a new run in another folder, with --start-from the weights "
            f"of this one."
        )
    # The weights that it was begun from are not kept, but the runs that led to them are.
    if history is not None and (state["from_nothing"] or state["history"] != history):
        raise RegistrationError(
            f"The run in {folder} was not begun from these weights; go on without --start-from, or begin a new run in "
            f"another folder."
        )
    if len(state["random"]) != processes:
        raise RegistrationError(
            f"The run was trained by {len(state['random'])} processes; go on with as many, not {processes}."
        )
