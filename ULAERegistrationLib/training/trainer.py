"""Train ULAE-net on brains, in phases on finer and finer grids, with or without the labels of the training people.

A run writes to its folder `settings.json`, `checkpoint.pt` (to resume from, not to ship), `curve.csv`, `curve.png`, and
the running average of the weights in two files: `weights.safetensors` from the validation with the highest Dice (before
the first one, from the latest checkpoint), and `last.safetensors` from the latest validation or checkpoint, which may
fold less at a slightly lower Dice. Weights that were saved between two validations have no accuracy on their card.
`cpu_hours` of the card and `cpu_seconds` of the curve are the processor time of the first process alone.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from ..errors import RegistrationError
from ..flows.warp import compose_all
from ..network.ulaenet import ULAENet
from ..network.weights import save_network
from .checkpoint import check_gradient, check_that_it_goes_on, read_checkpoint, write_checkpoint
from .curve import write_curve
from .data import Brains
from .losses import loss_terms, total_loss
from .pairs import Pairs
from .parallel import Processes
from .recipe import Phase, TrainingSettings
from .validation import validate

CHECKPOINT_SECONDS = 60


class Trainer:
    """One training run of ULAE-net, new or resumed.

    Args:
        folder: of the run; if it has a checkpoint, the run resumes from it exactly.
        brains: the packed set.
        settings: of the run; its validation people become those of `brains`.
        device: such as "cpu", "cuda" or "cuda:1".
        start: a network whose weights a new run starts from; None starts from random weights, or goes on.
        history: earlier runs that led to these weights, as their card lists them.
        licence: of these weights, which holds for what is made from them too; None where there is none to tell.
        processes: the processes that train this run together, on one pair each at every step; None for this one alone.
        log: called with one line of text at a time.

    Raises:
        RegistrationError: where fewer than two people train, or where the checkpoint is damaged or that of a run of
            other settings, of other people, of another start or of another number of processes.
    """

    def __init__(
        self,
        folder: Path,
        brains: Brains,
        settings: TrainingSettings,
        device: str = "cpu",
        start: ULAENet | None = None,
        history: Sequence[dict] = (),
        licence: str | None = None,
        processes: Processes | None = None,
        log: Callable[[str], None] = print,
    ) -> None:
        self.folder = Path(folder)
        self.brains = brains
        self.settings = replace(settings, validation_people=tuple(brains.validation_people))
        self.device = torch.device(device)
        self.history, self.licence = list(history), licence
        self.processes = processes or Processes()
        self.log = log
        if len(brains.training_people) < 2:
            raise RegistrationError("Training needs two people or more beside those who validate; pack more brains.")
        torch.manual_seed(settings.seed)
        # Every step of a phase has one size, so the search for the fastest convolutions pays.
        torch.backends.cudnn.benchmark = True
        self.network = (start or ULAENet()).to(device).train().requires_grad_(True)
        self._shared_network = self.processes.share(self.network)
        self.average = {name: value.detach().clone() for name, value in self.network.state_dict().items()}
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=settings.phases[0].learning_rate)
        # A run that begins with another's weights draws other pairs than that one, and each process draws its own.
        earlier = max(len(self.history), start is not None)
        self.random = torch.Generator().manual_seed(settings.seed + 1000 * self.processes.rank + 10**6 * earlier)
        self.pairs = Pairs(brains, self.settings, self.random)
        self.from_nothing = start is None
        self.phase_index, self.step, self.best = 0, 0, -1.0
        self.seconds, self.cpu_seconds = 0.0, -time.process_time()
        self.accuracy: dict[str, float] = {}  # of the average as it is, where it was just validated
        self._rows: list[dict] = []
        if (state := read_checkpoint(self.folder, self.device)) is not None:
            self._resume(state, start)
        if self.processes.first:
            self.folder.mkdir(parents=True, exist_ok=True)
            (self.folder / "settings.json").write_text(self.settings.to_json())
            self.log(self._who())

    def _who(self) -> str:
        """Say who trains and who validates."""
        validate = list(dict.fromkeys(person for pair in self.brains.validation_pairs() for person in pair))
        idle = [person for person in self.brains.validation_people if person not in validate]
        parts = [
            f"train: {', '.join(self.brains.training_people)}",
            f"validate: {', '.join(validate) or 'nobody, so the newest weights count'}",
            f"left out without validating, as they have no labelled partner of their source: {', '.join(idle)}",
        ]
        return "; ".join(parts if idle else parts[:2])

    def train(self, seconds: float = math.inf, stop: Callable[[], bool] = lambda: False) -> bool:
        """Train to the end of the last phase, or until it is to stop, and write a checkpoint to resume from.

        Args:
            seconds: after about so long it stops.
            stop: asked after each step whether to stop; in several processes, that of the first counts.

        Returns:
            Whether the end was reached.
        """
        began = checkpointed = time.monotonic()
        while self.phase_index < len(self.settings.phases):
            phase = self.settings.phases[self.phase_index]
            images = self.brains.training_set(phase.voxel_mm)
            while self.step < phase.steps:
                loss = self._step(images, phase)
                self.step += 1
                now = time.monotonic()
                if self.step % self.settings.validate_every == 0 or self.step == phase.steps:
                    self._validate(phase, loss, self.seconds + now - began)
                is_last = self.processes.agree(now - began > seconds or stop())
                if is_last or self.processes.agree(now - checkpointed > CHECKPOINT_SECONDS):
                    self._save(phase, self.seconds + now - began, best=not self._rows)
                    self._checkpoint(self.seconds + now - began)
                    checkpointed = now
                if is_last:
                    return False
            self.phase_index, self.step = self.phase_index + 1, 0
        self._checkpoint(self.seconds + time.monotonic() - began)
        return True

    def _step(self, images: Tensor, phase: Phase) -> dict[str, float]:
        pair = self.pairs.draw(images, phase.voxel_mm)
        progress = self.step / phase.steps
        rate = phase.final_rate + (1 - phase.final_rate) * (1 + math.cos(math.pi * progress)) / 2
        for group in self.optimiser.param_groups:
            group["lr"] = phase.learning_rate * rate * min(1, (self.step + 1) / 50)
        mixed = self.settings.precision != "float32"
        with torch.autocast(self.device.type, dtype=torch.bfloat16, enabled=mixed):
            flows = self._shared_network(fixed=pair.seen_fixed, moving=pair.seen_moving)
        terms = loss_terms(pair, compose_all(flows), phase.windows, self.settings, self.random)
        loss = total_loss(terms, self.settings)
        self.accuracy = {}
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        check_gradient(torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0), self.step)
        self.optimiser.step()
        decay = self.settings.average
        if self.from_nothing:  # random weights have to leave the average
            done = sum(earlier.steps for earlier in self.settings.phases[: self.phase_index]) + self.step
            decay = min(decay, (done + 1) / (done + 10))
        with torch.no_grad():
            for name, value in self.network.state_dict().items():
                self.average[name].lerp_(value, 1 - decay)
        return {"loss": loss.item(), **{name: value.item() for name, value in terms.items()}}

    def averaged_network(self) -> ULAENet:
        """Return a network with the running average of the weights."""
        network = ULAENet().to(self.device).eval()
        network.load_state_dict(self.average)
        return network

    def _validate(self, phase: Phase, loss: dict[str, float], seconds: float) -> None:
        if not self.processes.first:
            return
        scores = self.accuracy = validate(self.averaged_network(), self.brains, phase.voxel_mm, self.settings.precision)
        row: dict[str, float] = {
            "phase": self.phase_index,
            "voxel_mm": phase.voxel_mm,
            "step": self.step,
            "seconds": round(seconds),
        }
        row["cpu_seconds"] = round(self.cpu_seconds + time.process_time())
        row |= {name: round(value, 5) for name, value in {**loss, **scores}.items()}
        self._rows.append(row)
        write_curve(self._rows, self.folder)
        self.log("  ".join(f"{name} {value}" for name, value in row.items()))
        mean = sum(value for name, value in scores.items() if name.startswith("dice"))
        # Without validation pairs nothing can be compared: the newest weights count.
        best = mean > self.best or not scores
        self.best = mean if best else self.best
        self._save(phase, seconds, best)

    def _save(self, phase: Phase, seconds: float, best: bool) -> None:
        """Write the running average and its card to `last.safetensors`, and to `weights.safetensors` if it is best."""
        if not self.processes.first:
            return
        run = {
            "recipe": asdict(self.settings),
            "cpu_hours": round((self.cpu_seconds + time.process_time()) / 3600, 2),
            "hours": round(seconds / 3600, 2),
            "device": self.device.type,
            "accuracy": self.accuracy,
            "people": self.brains.training_people,
            "labelled_people": self.pairs.taught_by(),
            "heads": len(self.brains.tissues),
        }
        card: dict[str, Any] = {"voxel_mm": phase.voxel_mm, "runs": [*self.history, run]}
        if self.licence:
            card["licence"] = self.licence
        for name in ("last", "weights") if best else ("last",):
            save_network(self.averaged_network(), self.folder / f"{name}.safetensors", card)

    def _checkpoint(self, seconds: float) -> None:
        state = {
            "network": self.network.state_dict(),
            "average": self.average,
            "optimiser": self.optimiser.state_dict(),
            "random": self.processes.gather(self.random.get_state()),
            "from_nothing": self.from_nothing,
            "phase": self.phase_index,
            "step": self.step,
            "best": self.best,
            "seconds": seconds,
            "cpu_seconds": self.cpu_seconds + time.process_time(),
            "rows": self._rows,
            "history": self.history,
            "licence": self.licence,
            "settings": self.settings.to_json(),
            "people": self.brains.training_people,
        }
        if self.processes.first:
            write_checkpoint(self.folder, state)

    def _resume(self, state: dict[str, Any], start: ULAENet | None) -> None:
        check_that_it_goes_on(
            state,
            self.folder,
            settings=self.settings,
            people=self.brains.training_people,
            history=None if start is None else self.history,
            processes=self.processes.count,
        )
        self.network.load_state_dict(state["network"])
        self.average = state["average"]
        self.optimiser.load_state_dict(state["optimiser"])
        self.random.set_state(state["random"][self.processes.rank].cpu())
        self.from_nothing = state["from_nothing"]
        self.phase_index, self.step, self.best = state["phase"], state["step"], state["best"]
        self.seconds, self.cpu_seconds, self._rows = state["seconds"], state["cpu_seconds"], state["rows"]
        self.cpu_seconds -= time.process_time()
        self.history, self.licence = state["history"], state.get("licence")
        if self.processes.first:
            self.log(f"going on from phase {self.phase_index}, step {self.step}")
