"""How a network is trained: everything that can be set, in one file beside the weights it made."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from pathlib import Path

from ..dataset.sources import VALIDATION_PEOPLE
from ..errors import RegistrationError
from .augmentation import Augmentation


@dataclass(frozen=True)
class Phase:
    """One stretch of training on one grid.

    Attributes:
        voxel_mm: 4, 2 or 1: side of the grid's voxels.
        steps: optimiser steps.
        learning_rate: at the start; falls to `final_rate` of itself along a cosine.
        windows: sides of the NCC windows in voxels of this grid, largest first (equation 3).
    """

    voxel_mm: int
    steps: int
    learning_rate: float
    windows: tuple[int, ...]
    final_rate: float = 0.1


@dataclass(frozen=True)
class TrainingSettings:
    """A recipe.

    Attributes:
        phases: one after the other.
        smoothness: the paper's lambda (equation 5).
        folding: weight of the penalty on negative Jacobian determinants.
        known: weight of the error of the flow, where a pair's true flow is known (see `Augmentation.known`).
        labels: weight of the label term, one minus the soft Dice of warped manual labels of training people; 0 trains
            without labels, and so does a pack that holds none.
        labels_a_step: how many labels, drawn anew, count in one step.
        one_protocol: share of pairs drawn from people whose labels compare, where labels count at all.
        validation_people: never trained on; their labels pick the checkpoint. Those of a source that the pack lacks
            do nothing; a run on one's own people names its own.
        average: decay of the running average of the weights, which is what is validated and kept.
        precision: "bfloat16" runs the convolutions in it; flows, grids and NCC are float32 always.
        seed: of all chance; with several processes each has its own share of it.
        validate_every: steps between two looks at the validation pairs.
        augmentation: how pairs are made.
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
    one_protocol: float = 0.8
    validation_people: tuple[str, ...] = VALIDATION_PEOPLE
    average: float = 0.997
    precision: str = "bfloat16"
    seed: int = 1
    validate_every: int = 250
    augmentation: Augmentation = field(default_factory=Augmentation)

    @classmethod
    def from_json(cls, text: str) -> TrainingSettings:
        """Read a recipe; what it does not name is as in this version.

        Raises:
            RegistrationError: where it is no recipe: no JSON, a name that is not known, or a value of another kind.
        """
        try:
            values = json.loads(text)
            if "phases" in values:
                values["phases"] = tuple(Phase(**{**p, "windows": tuple(p["windows"])}) for p in values["phases"])
            if "validation_people" in values:
                values["validation_people"] = tuple(values["validation_people"])
            values["augmentation"] = Augmentation(**values.get("augmentation", {}))
            return cls(**values)
        except (TypeError, ValueError, KeyError, AttributeError) as error:
            raise RegistrationError(
                f"The training settings cannot be read ({error}); give a JSON file as `ulae train` writes it."
            ) from None

    def to_json(self) -> str:
        """All of it, readable by `from_json` and by people."""
        return json.dumps(asdict(self), indent=2)


def read_recipe(file: str | Path | None) -> TrainingSettings:
    """The recipe in a JSON file; None is this version's own.

    Raises:
        RegistrationError: a file that cannot be read, or is no recipe.
    """
    try:
        text = Path(file).read_text(encoding="utf-8") if file else "{}"
    except (OSError, UnicodeDecodeError) as error:
        raise RegistrationError(f"The training settings {file} cannot be read ({error}); give a JSON file.") from None
    return TrainingSettings.from_json(text)
