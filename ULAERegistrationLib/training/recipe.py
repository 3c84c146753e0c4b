"""The settings of a training run, which are stored in one file beside its weights."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, Literal

from ..errors import RegistrationError
from .augmentation import Augmentation
from .field_types import check_fields

LARGEST_SEED = 2**62  # what is added to it still fits into 64 bits


@dataclass(frozen=True)
class Phase:
    """A phase of training on one grid.

    Attributes:
        voxel_mm: side of the grid's voxels: 4, 2 or 1 mm.
        steps: number of optimiser steps.
        learning_rate: at the start.
        windows: sides of the NCC windows in voxels of this grid, largest first (equation 3).
        final_rate: learning rate at the end as a fraction of that at the start; it falls along a cosine.
    """

    voxel_mm: Literal[1, 2, 4]
    steps: int
    learning_rate: float
    windows: tuple[int, ...]
    final_rate: float = 0.1

    def __post_init__(self) -> None:
        """Raise a ValueError for a value of a wrong type, or that no phase can have."""
        check_fields(self)
        if self.steps < 1 or not self.windows or any(window % 2 == 0 for window in self.windows):
            raise ValueError("a phase has at least one step, and windows of an odd number of voxels")


@dataclass(frozen=True)
class TrainingSettings:
    """The settings of a training run.

    Attributes:
        phases: the phases, in order.
        smoothness: the paper's lambda (equation 5).
        folding: weight of the penalty on negative Jacobian determinants.
        known: weight of the error of the flow, for pairs whose true flow is known (see `Augmentation.known`).
        labels: weight of the label term, one minus the soft Dice of warped labels of training people or heads; 0, or
            packed data without labels, trains without it.
        labels_a_step: number of labels, drawn at random, that count in one step.
        label_grids: the voxel sizes, relative to the phase's grid, on which the label term is computed. A coarse one
            reaches farther, a fine one is more exact.
        one_protocol: fraction of pairs that are drawn from people whose labels compare, if labels are used.
        painted_pairs: fraction of pairs that are two brains painted from label maps of heads, where the packed data has
            two or more; their tissues are labels.
        validation_people: names of people of the packed data who are not trained on; the labels of those who have a
            labelled partner of their source choose the checkpoint. None takes those of the project's own data that the
            packed data has, whom a run then names here; a run on other data has to name its own.
        average: decay per step of the running average of the weights, which is validated and saved; where a run begins
            with random weights, at most (n + 1) / (n + 10) after n steps.
        precision: "bfloat16" runs the convolutions in it, "float32" does not; flows and NCC are always float32.
        seed: of all random numbers; each process, and each run that begins with another's weights, derives its own from
            it.
        validate_every: number of steps between two validations.
        augmentation: the random changes of training pairs.
    """

    phases: tuple[Phase, ...] = (
        Phase(voxel_mm=4, steps=2500, learning_rate=1e-3, windows=(5, 5, 3)),
        Phase(voxel_mm=2, steps=6000, learning_rate=8e-4, windows=(7, 5, 3), final_rate=0.02),
    )
    smoothness: float = 0.5
    folding: float = 10.0
    known: float = 0.1
    labels: float = 0.0
    labels_a_step: int = 12
    label_grids: tuple[int, ...] = (2,)
    one_protocol: float = 0.8
    painted_pairs: float = 0.0
    validation_people: tuple[str, ...] | None = None
    average: float = 0.997
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    seed: int = 1
    validate_every: int = 250
    augmentation: Augmentation = field(default_factory=Augmentation)

    def __post_init__(self) -> None:
        """Raise a ValueError for a value of a wrong type, or that no run can have."""
        check_fields(self)
        if not self.phases or not self.label_grids:
            raise ValueError("phases and label_grids may not be empty")
        if min(self.validate_every, self.labels_a_step, *self.label_grids) < 1:
            raise ValueError("validate_every, labels_a_step and label_grids begin at 1")
        if not 0 <= self.seed <= LARGEST_SEED:
            raise ValueError(f"seed is 0 to {LARGEST_SEED}")
        if self.average >= 1:
            raise ValueError("average is below 1")

    @classmethod
    def from_json(cls, text: str) -> TrainingSettings:
        """Parse settings from JSON; those that it lacks take this version's defaults.

        Raises:
            RegistrationError: where the text is not JSON, names an unknown setting, or has a value of a wrong type or
                that no run can have.
        """
        try:
            values = json.loads(text)
            if "phases" in values:
                values["phases"] = tuple(Phase(**{**p, "windows": _tuple(p["windows"])}) for p in values["phases"])
            for name in ("validation_people", "label_grids"):
                if name in values:
                    values[name] = _tuple(values[name])
            values["augmentation"] = Augmentation(**values.get("augmentation", {}))
            return cls(**values)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise RegistrationError(
                f"The training settings cannot be read ({error}); give a JSON file as `ulae train` writes it."
            ) from None

    def to_json(self) -> str:
        """Return the settings as JSON, which `from_json` reads."""
        return json.dumps(asdict(self), indent=2)


def _tuple(value: Any) -> Any:
    """Return a list of JSON as a tuple; what is no list is left to the check of types."""
    return tuple(value) if isinstance(value, list) else value


def read_recipe(file: str | Path) -> TrainingSettings:
    """Read training settings from a JSON file.

    Raises:
        RegistrationError: for a file that cannot be read or does not contain training settings.
    """
    try:
        text = Path(file).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise RegistrationError(f"The training settings {file} cannot be read ({error}); give a JSON file.") from None
    return TrainingSettings.from_json(text)
