"""How a network is trained: everything that can be set, in one file beside the weights it made."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

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
    average: float = 0.997
    precision: str = "bfloat16"
    seed: int = 1
    validate_every: int = 250
    augmentation: Augmentation = field(default_factory=Augmentation)

    @classmethod
    def from_json(cls, text: str) -> TrainingSettings:
        """Read a recipe; what it does not name is as in this version.

        Raises:
            TypeError: for a name that is not known.
        """
        values = json.loads(text)
        if "phases" in values:
            values["phases"] = tuple(Phase(**{**s, "windows": tuple(s["windows"])}) for s in values["phases"])
        values["augmentation"] = Augmentation(**values.get("augmentation", {}))
        return cls(**values)

    def to_json(self) -> str:
        """All of it, readable by `from_json` and by people."""
        return json.dumps(asdict(self), indent=2)
