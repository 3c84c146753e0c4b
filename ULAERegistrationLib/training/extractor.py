"""Train the brain extraction network on painted heads and a few real scans.

`python -m ULAERegistrationLib.training.extractor PACKED FOLDER` trains, or goes on where the folder holds a checkpoint.
Every training image is made from its number alone, so any number of processes (`--workers`) makes the same ones.
The folder then holds `settings.json`, `checkpoint.pt` (never for shipping), `curve.csv`, and `last.safetensors`, the
running average of the weights, which is what is validated and shipped. `cpu_hours` of the card and `cpu_seconds` of the
curve are the processor time of the main process alone, without that of the processes that make training images.
"""

from __future__ import annotations

import argparse
import json
import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, fields, replace
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from ..errors import RegistrationError
from ..network.brain_net import ARCHITECTURE, BrainNet, normalise
from ..network.weight_files import read_weights, save_weights
from .checkpoint import check_gradient, read_checkpoint, write_checkpoint
from .curve import write_rows
from .head_data import Heads
from .heads import augment, paint, without_brain

CHECKPOINT_SECONDS = 60


@dataclass(frozen=True)
class ExtractorSettings:
    """The settings of a training run of the brain extraction network.

    Attributes:
        steps: number of optimiser steps.
        batch: images per step.
        learning_rate: of Adam at the start; it falls along a cosine to a hundredth.
        real: fraction of the images that are real scans.
        empty: fraction of the images that show no brain.
        average: decay of the running average of the weights, per step.
        seed: of all random numbers.
        validate_every: number of steps between two validations.
    """

    steps: int = 4500
    batch: int = 2
    learning_rate: float = 2e-3
    real: float = 0.15
    empty: float = 0.04
    average: float = 0.998
    seed: int = 1
    validate_every: int = 250


class Examples(Dataset):
    """The training images of a run, each made from its number alone.

    Args:
        heads: the packed heads.
        settings: of the run.
    """

    def __init__(self, heads: Heads, settings: ExtractorSettings) -> None:
        self.heads, self.settings = heads, settings

    def __len__(self) -> int:
        return self.settings.steps * self.settings.batch

    def __getitem__(self, number: int) -> tuple[Tensor, Tensor]:
        """Make an image and its fraction of brain in each voxel, each `[1, L, P, S]`."""
        random = torch.Generator().manual_seed(self.settings.seed * 10**7 + number)
        real = self.heads.scans and torch.rand((), generator=random) < self.settings.real
        heads = list((self.heads.scans if real else self.heads.maps).values())
        head = heads[int(torch.randint(len(heads), (), generator=random))]
        image = head.image if head.image is not None else paint(head, self.heads.labels, self.heads.classes, random)
        empty = torch.rand((), generator=random) < self.settings.empty
        picture, brain = (without_brain if empty else augment)(image, head.brain, random)
        return picture[0], brain[0]


class ExtractorTrainer:
    """One training run of the brain extraction network, new or resumed.

    Args:
        folder: of the run; if it has a checkpoint, the run resumes from it exactly.
        heads: the packed heads.
        settings: of the run; of one that is resumed only the number of steps may differ from those that it was begun
            with, which changes the cosine of the learning rate.
        device: such as "cpu" or "cuda".
        workers: processes that make training images; 0 makes them in this one.
        start: weights that a new run starts from; None starts from random weights.
        history: earlier runs that led to these weights, as their card lists them.
        log: called with one line of text at a time.

    Raises:
        RegistrationError: where the checkpoint is damaged, or that of a run with other settings or that other runs led
            to.
    """

    def __init__(
        self,
        folder: Path,
        heads: Heads,
        settings: ExtractorSettings,
        device: str = "cpu",
        workers: int = 0,
        start: dict[str, Tensor] | None = None,
        history: Sequence[dict[str, Any]] = (),
        log: Callable[[str], None] = print,
    ) -> None:
        self.folder, self.heads, self.settings, self.log = Path(folder), heads, settings, log
        self.history = list(history)
        self.device, self.workers = torch.device(device), workers
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.manual_seed(settings.seed)
        self.network = BrainNet().to(device)
        if start is not None:
            self.network.load_state_dict(start)
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=settings.learning_rate)
        self.step, self.cpu_seconds, self.loss = 0, 0.0, math.nan
        self.rows: list[dict[str, float]] = []
        if (state := _begun(self.folder, self.device)) is not None:
            self._resume(state)
        (self.folder / "settings.json").write_text(json.dumps(asdict(settings), indent=2) + "\n")

    def train(self, seconds: float = math.inf) -> None:
        """Train to the last step, or for at most about `seconds`, and write a checkpoint to resume from."""
        began = checkpointed = time.monotonic()
        used = time.process_time()
        for images, brains in self._batches():
            loss = self._step(images.to(self.device), brains.to(self.device))
            self.loss = loss if math.isnan(self.loss) else 0.99 * self.loss + 0.01 * loss
            self.step += 1
            self.cpu_seconds += time.process_time() - used
            used = time.process_time()
            if self.step % self.settings.validate_every == 0 or self.step == self.settings.steps:
                self._validate()
            if time.monotonic() - checkpointed > CHECKPOINT_SECONDS:
                self._checkpoint()
                checkpointed = time.monotonic()
            if time.monotonic() - began > seconds:
                break
        self._checkpoint()

    def _batches(self) -> DataLoader:
        """Load the images of the steps that are left. On small grids, torch is fast only for more than one image."""
        examples, batch = Examples(self.heads, self.settings), self.settings.batch
        return DataLoader(
            examples,
            batch,
            sampler=range(self.step * batch, len(examples)),
            num_workers=self.workers,
            prefetch_factor=8 if self.workers else None,
        )

    def _step(self, images: Tensor, brains: Tensor) -> float:
        settings = self.settings
        falling = (1 + math.cos(math.pi * min(1, self.step / settings.steps))) / 2
        for group in self.optimiser.param_groups:
            rate = settings.learning_rate * (0.01 + 0.99 * falling) * min(1, (self.step + 1) / 100)
            group["lr"] = rate
        loss = extraction_loss(self.network(images), brains)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        check_gradient(torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0), self.step)
        self.optimiser.step()
        decay = min(settings.average, self.step / (self.step + 10))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.average[name].lerp_(value, 1 - decay)
        return loss.item()

    def averaged_network(self) -> BrainNet:
        """Return a network with the running average of the weights."""
        network = BrainNet().to(self.device).eval()
        network.load_state_dict(self.average)
        return network

    def _validate(self) -> None:
        scores = validate(self.averaged_network(), self.heads)
        row = {"step": self.step, "cpu_seconds": round(self.cpu_seconds), "loss": self.loss, **scores}
        self.rows.append({name: round(value, 4) for name, value in row.items()})
        write_rows(self.rows, self.folder / "curve.csv")
        self.log("  ".join(f"{name} {value}" for name, value in self.rows[-1].items()))
        self._save(scores)

    def _save(self, scores: dict[str, float]) -> None:
        run = {
            "recipe": asdict(self.settings),
            "steps": self.step,
            "cpu_hours": round(self.cpu_seconds / 3600, 2),
            "device": self.device.type,
            "workers": self.workers,
        }
        card = {"architecture": ARCHITECTURE, "runs": [*self.history, run], "validation": scores}
        save_weights(self.average, self.folder / "last.safetensors", card)

    def _checkpoint(self) -> None:
        state = {
            "network": self.network.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "step": self.step,
            "cpu_seconds": self.cpu_seconds,
            "rows": self.rows,
            "history": self.history,
            "loss": self.loss,
            "settings": asdict(self.settings),
        }
        write_checkpoint(self.folder, state)

    def _resume(self, state: dict[str, Any]) -> None:
        given = asdict(replace(self.settings, steps=state["settings"]["steps"]))
        if different := [name for name, value in given.items() if value != state["settings"].get(name)]:
            raise RegistrationError(
                f"The run in {self.folder} was begun with other settings ({', '.join(different)}); give its own, or "
                f"begin a new run in another folder."
            )
        if state["history"] != self.history:
            raise RegistrationError(
                f"The run in {self.folder} was begun from other weights; give those with --start-from that it was "
                f"begun from, or none where there were none, or begin a new run in another folder."
            )
        self.network.load_state_dict(state["network"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.average, self.step = state["average"], state["step"]
        self.cpu_seconds, self.rows, self.loss = state["cpu_seconds"], state["rows"], state["loss"]


def _begun(folder: Path, device: torch.device | str = "cpu") -> dict[str, Any] | None:
    """Read the checkpoint of a run of this training, as `read_checkpoint` does; refuse that of another training."""
    state = read_checkpoint(folder, device)
    names = {field.name for field in fields(ExtractorSettings)}
    if state is not None and not (isinstance(state["settings"], dict) and set(state["settings"]) == names):
        raise RegistrationError(
            f"{folder} holds the run of another training, or of an earlier version; begin a new run in another folder."
        )
    return state


def extraction_loss(logits: Tensor, brain: Tensor) -> Tensor:
    """Compute the loss: cross entropy plus one minus soft Dice, against the fraction of brain in every voxel.

    Args:
        logits: `[B, 1, L, P, S]`.
        brain: fraction of brain, the same shape, in [0, 1].
    """
    probability, axes = logits.sigmoid(), (1, 2, 3, 4)
    overlap = 2 * (probability * brain).sum(axes) + 1
    dice = overlap / (probability.square().sum(axes) + brain.square().sum(axes) + 1)
    return F.binary_cross_entropy_with_logits(logits, brain) + 1 - dice.mean()


def validate(network: BrainNet, heads: Heads) -> dict[str, float]:
    """Compute the mean Dice on heads that are not trained on.

    Returns:
        `painted` for synthetic heads, which are the same at every call, and `measured` for real ones.
    """
    random = torch.Generator().manual_seed(0)
    device = next(network.parameters()).device
    scores: dict[str, list[float]] = {"painted": [], "measured": []}
    with torch.inference_mode():
        for head in [head for head in heads.held_out.values() for _ in range(4)]:
            image, brain = augment(paint(head, heads.labels, heads.classes, random), head.brain, random)
            scores["painted"].append(_dice(network(image.to(device)).cpu() > 0, brain > 0.5))
        for view, brain in heads.measured.values():
            scores["measured"].append(
                _dice(network(normalise(view[None, None]).to(device)).cpu() > 0, brain[None, None] > 0.5)
            )
    return {name: sum(values) / len(values) for name, values in scores.items() if values}


def _dice(first: Tensor, second: Tensor) -> float:
    return (2 * (first & second).sum() / (first.sum() + second.sum()).clamp(min=1)).item()


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packed", type=Path, help="what head_data packed")
    parser.add_argument("folder", type=Path, help="of the run")
    for name in ("steps", "batch", "learning_rate"):
        default = getattr(ExtractorSettings, name)
        text = f"of a new run by default {default}; of one that goes on, its own"
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), help=text)
    parser.add_argument("--start-from", type=Path, metavar="FILE", help="weights that a new run starts from")
    parser.add_argument("--minutes", type=float, default=math.inf)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--workers", type=int, default=0, help="processes that make training images")
    options = parser.parse_args()
    start, history = None, []
    if options.start_from:
        start = read_weights(options.start_from, BrainNet(), ARCHITECTURE)[0]
        history = json.loads(options.start_from.with_suffix(".json").read_text()).get("runs", [])
    # Each run that goes on from another sees images of its own.
    begun = _begun(options.folder)
    recipe = ExtractorSettings(**begun["settings"]) if begun else ExtractorSettings(seed=1 + len(history))
    chosen = {name: getattr(options, name) for name in ("steps", "batch", "learning_rate")}
    recipe = replace(recipe, **{name: value for name, value in chosen.items() if value is not None})
    heads = Heads(options.packed)
    run = ExtractorTrainer(options.folder, heads, recipe, options.device, options.workers, start, history)
    run.train(60 * options.minutes)
