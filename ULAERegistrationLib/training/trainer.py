"""Train ULAE-net on brains, unsupervised, from a coarse grid to the full one.

A run is a folder: `settings.json`, `checkpoint.pt` (for going on, never for shipping), `curve.csv`, `curve.png` and
`weights.safetensors`, the running average that did best on the validation pairs.
"""

from __future__ import annotations

import csv
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from pathlib import Path

import torch
from torch import Tensor

from ..flows import compose_all, warp
from ..network import ULAENet
from ..weights import save_network
from .augmentation import Augmentation
from .data import Brains
from .losses import folding, multi_window_loss, smoothness
from .validation import validate

CHECKPOINT_SECONDS = 60


@dataclass(frozen=True)
class Stage:
    """One stretch of training on one grid.

    Attributes:
        shrink: 4, 2 or 1: the grid's voxels in mm.
        steps: optimiser steps.
        learning_rate: at the start; falls to `final_rate` of itself along a cosine.
        windows: sides of the NCC windows in voxels of this grid, largest first (equation 3).
    """

    shrink: int
    steps: int
    learning_rate: float
    windows: tuple[int, ...]
    final_rate: float = 0.1


@dataclass(frozen=True)
class TrainingSettings:
    """A recipe; it lies beside the weights it made.

    Attributes:
        smoothness: the paper's lambda (equation 5).
        folding: weight of the penalty on negative Jacobian determinants.
        average: decay of the running average of the weights, which is what is validated and kept.
        precision: "bfloat16" runs the convolutions in it; flows, grids and NCC are float32 always.
    """

    stages: tuple[Stage, ...] = (
        Stage(shrink=4, steps=4000, learning_rate=1e-3, windows=(5, 5, 3)),
        Stage(shrink=2, steps=4000, learning_rate=4e-4, windows=(7, 5, 3)),
    )
    smoothness: float = 1.0
    folding: float = 10.0
    average: float = 0.995
    precision: str = "bfloat16"
    seed: int = 1
    validate_every: int = 500
    augmentation: Augmentation = field(default_factory=Augmentation)

    @classmethod
    def from_json(cls, text: str) -> TrainingSettings:
        values = json.loads(text)
        values["stages"] = tuple(Stage(**{**s, "windows": tuple(s["windows"])}) for s in values["stages"])
        values["augmentation"] = Augmentation(**values["augmentation"])
        return cls(**values)

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2)


class Trainer:
    """One run, new or gone on with.

    Args:
        folder: the run's folder; where it holds a checkpoint, training goes on from it to the same state.
        brains: the packed set.
        settings: the recipe.
        device: "cpu" or "cuda".
        start: weights to begin from, for a new run.
        log: takes one line of text at a time.
    """

    def __init__(
        self,
        folder: Path,
        brains: Brains,
        settings: TrainingSettings,
        device: str = "cpu",
        start: ULAENet | None = None,
        log: Callable[[str], None] = print,
    ) -> None:
        self.folder = Path(folder)
        self.folder.mkdir(parents=True, exist_ok=True)
        self.brains = brains
        self.settings = settings
        self.device = device
        self.log = log
        torch.manual_seed(settings.seed)
        self.network = (start or ULAENet()).to(device).train()
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=settings.stages[0].learning_rate)
        self.random = torch.Generator().manual_seed(settings.seed)
        self.stage_index, self.step, self.best = 0, 0, -1.0
        self.seconds, self.cpu_seconds = 0.0, -time.process_time()
        self._rows: list[dict] = []
        if (self.folder / "checkpoint.pt").exists():
            self._resume()
        (self.folder / "settings.json").write_text(settings.to_json())

    def train(self, seconds: float = math.inf) -> None:
        """Train to the end of the last stage, or for so many seconds; the checkpoint then lets a next call go on."""
        began = checkpointed = time.monotonic()
        while self.stage_index < len(self.settings.stages):
            stage = self.settings.stages[self.stage_index]
            images = self.brains.training_set(stage.shrink)
            while self.step < stage.steps:
                loss = self._step(images, stage)
                self.step += 1
                now = time.monotonic()
                if self.step % self.settings.validate_every == 0 or self.step == stage.steps:
                    self._validate(stage, loss, self.seconds + now - began)
                if now - began > seconds or now - checkpointed > CHECKPOINT_SECONDS:
                    self._checkpoint(self.seconds + now - began)
                    checkpointed = now
                if now - began > seconds:
                    return
            self.stage_index, self.step = self.stage_index + 1, 0
        self._checkpoint(self.seconds + time.monotonic() - began)

    def _step(self, images: Tensor, stage: Stage) -> dict[str, float]:
        moving, fixed = self._pair(images)
        progress = self.step / stage.steps
        rate = stage.final_rate + (1 - stage.final_rate) * (1 + math.cos(math.pi * progress)) / 2
        for group in self.optimiser.param_groups:
            group["lr"] = stage.learning_rate * rate * min(1, (self.step + 1) / 50)
        mixed = self.settings.precision != "float32"
        with torch.autocast(self.device, dtype=torch.bfloat16, enabled=mixed):
            flows = self.network(moving, fixed)
        flow = compose_all(flows)
        terms = {
            "similarity": multi_window_loss(fixed, warp(moving, flow), stage.windows),
            "smoothness": smoothness(flow),
            "folding": folding(flow),
        }
        loss = (
            terms["similarity"]
            + self.settings.smoothness * terms["smoothness"]
            + self.settings.folding * terms["folding"]
        )
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.average[name].lerp_(value, 1 - self.settings.average)
        return {"loss": loss.item(), **{name: value.item() for name, value in terms.items()}}

    def _pair(self, images: Tensor) -> tuple[Tensor, Tensor]:
        i, j = torch.randperm(len(images), generator=self.random)[:2].tolist()
        return self.settings.augmentation(images[i : i + 1], images[j : j + 1], self.random)

    def averaged_network(self) -> ULAENet:
        network = ULAENet().to(self.device).eval()
        network.load_state_dict(self.average)
        return network

    def _validate(self, stage: Stage, loss: dict[str, float], seconds: float) -> None:
        network = self.averaged_network()
        scores = validate(network, self.brains, stage.shrink, self.settings.precision)
        row = {"stage": self.stage_index, "shrink": stage.shrink, "step": self.step, "seconds": round(seconds)}
        row["cpu_seconds"] = round(self.cpu_seconds + time.process_time())
        row |= {name: round(value, 5) for name, value in {**loss, **scores}.items()}
        self._rows.append(row)
        self._write_curve()
        self.log("  ".join(f"{name} {value}" for name, value in row.items()))
        mean = sum(value for name, value in scores.items() if name.startswith("dice"))
        if mean > self.best:
            self.best = mean
            save_network(network, self.folder / "weights.safetensors", {"shrink": stage.shrink, "scores": scores})

    def _write_curve(self) -> None:
        with (self.folder / "curve.csv").open("w", newline="") as file:
            writer = csv.DictWriter(file, fieldnames=list(self._rows[0]))
            writer.writeheader()
            writer.writerows(self._rows)
        try:
            from .curve import draw_curve
        except ImportError:  # a machine with torch and numpy alone trains without the picture
            return
        draw_curve(self._rows, self.folder / "curve.png")

    def _checkpoint(self, seconds: float) -> None:
        state = {
            "network": self.network.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "random": self.random.get_state(),
            "stage": self.stage_index,
            "step": self.step,
            "best": self.best,
            "seconds": seconds,
            "cpu_seconds": self.cpu_seconds + time.process_time(),
            "rows": self._rows,
        }
        temporary = self.folder / "checkpoint.part"
        torch.save(state, temporary)
        temporary.replace(self.folder / "checkpoint.pt")

    def _resume(self) -> None:
        state = torch.load(self.folder / "checkpoint.pt", map_location=self.device, weights_only=True)
        self.network.load_state_dict(state["network"])
        self.average = state["average"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.random.set_state(state["random"].cpu())
        self.stage_index, self.step, self.best = state["stage"], state["step"], state["best"]
        self.seconds, self.cpu_seconds, self._rows = state["seconds"], state["cpu_seconds"], state["rows"]
        self.cpu_seconds -= time.process_time()
        self.log(f"going on from stage {self.stage_index}, step {self.step}")
