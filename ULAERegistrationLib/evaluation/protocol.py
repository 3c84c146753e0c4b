"""The evaluation: the same ordered pairs of people for every method, measured alike.

The people are by default the validation set of the frozen split (`dataset.sources`), which no weights made here were
trained on; they did pick the checkpoint. Their brains already lie in the canonical frame, so that what is measured is
the deformable part alone.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import SimpleITK as sitk
import torch

from .. import __version__
from ..dataset.regions import NUMBERINGS, REGIONS
from ..dataset.sources import VALIDATION_PEOPLE, source_of
from ..network.devices import choose_device, choose_precision
from ..network.weights import Card, load_network
from ..progress import Progress, silent
from ..settings import Device, Precision
from .measures import Measures, measure_pair
from .method_process import MethodProcess
from .methods import check_methods
from .people import image_file, ordered_pairs, read_people
from .summary import DRAWS, SEED, Summary, summarise

DEFAULT_METHODS = ("affine", "network", "accurate", "smooth")
# The scalar measures of a row, in the order of the tables.
MEASURES = (
    "dice",
    "five_regions",
    "union",
    "hd95_mm",
    "folded_percent",
    "folded_central_percent",
    "log_jacobian_sd",
    "seconds",
    "memory_gb",
    "gpu_memory_gb",
)


@dataclass(frozen=True)
class Row:
    """One method on one pair; seconds and memory as `method_process.Answer` has them."""

    method: str
    fixed: str
    moving: str
    measures: Measures
    seconds: float
    memory_gb: float | None
    gpu_memory_gb: float | None
    warnings: tuple[str, ...]

    @property
    def source(self) -> str:
        return source_of(self.fixed)

    def value(self, name: str) -> float | None:
        """One of `MEASURES`, or a region's mean Dice; None where there is none."""
        values = {**vars(self.measures), **vars(self), **self.measures.regions}
        return values.get(name)

    def to_dict(self) -> dict[str, Any]:
        row = {"source": self.source, **vars(self)}
        return {**row, "measures": self.measures.to_dict(), "warnings": list(self.warnings)}


@dataclass(frozen=True)
class Evaluation:
    """All rows, and how they were made."""

    rows: tuple[Row, ...]
    card: Card
    about: dict[str, Any]

    @property
    def sources(self) -> list[str]:
        return list(dict.fromkeys(row.source for row in self.rows))

    @property
    def methods(self) -> list[str]:
        return list(dict.fromkeys(row.method for row in self.rows))

    def select(self, source: str, method: str) -> list[Row]:
        return [row for row in self.rows if (row.source, row.method) == (source, method)]

    def summary(self, source: str, method: str, name: str) -> Summary | None:
        """Of one measure or region over the pairs of a source; None where no pair has it."""
        found = {(row.fixed, row.moving): row.value(name) for row in self.select(source, method)}
        values = {pair: value for pair, value in found.items() if value is not None}
        return summarise(values) if values else None

    def to_dict(self) -> dict[str, Any]:
        """For evaluation.json: how it was made, the summaries, then every pair and label."""
        summaries = []
        for source in self.sources:
            for method in self.methods:
                found = {name: self.summary(source, method, name) for name in (*MEASURES, *REGIONS)}
                values = {name: asdict(summary) for name, summary in found.items() if summary}
                summaries.append({"source": source, "method": method, **values})
        return {"about": self.about, "summaries": summaries, "pairs": [row.to_dict() for row in self.rows]}


def evaluate(
    data: Path,
    methods: Sequence[str] = DEFAULT_METHODS,
    people: Sequence[str] = VALIDATION_PEOPLE,
    model: str | None = None,
    device: Device = "auto",
    precision: Precision = "auto",
    progress: Progress = silent,
) -> Evaluation:
    """Run every method on every ordered pair of people of one source.

    Args:
        data: folder of `<person>_t1.nii.gz` and `<person>_seg.nii.gz` on the canonical grid, affinely aligned.
        methods: of `methods.METHODS`, in the order of the tables.
        people: their names.
        model, device, precision: of ours, as in `RegistrationSettings`.
        progress: told a fraction and a message before each run; what it raises ends the evaluation.

    Raises:
        RegistrationError: for input that cannot be evaluated, before anything is computed; or where a method fails.
    """
    data, people = Path(data), list(dict.fromkeys(people))
    check_methods(list(methods))
    number = choose_precision(choose_device(device), precision)
    _, card = load_network(model)
    persons = read_people(data, people)
    pairs = ordered_pairs(people)
    rows: list[Row] = []
    for method in methods:
        with MethodProcess(method, model=model, device=device, precision=precision) as process:
            for fixed, moving in pairs:
                progress(len(rows) / (len(methods) * len(pairs)), f"{method}: {fixed} <- {moving}")
                answer = process.register(image_file(data, fixed), image_file(data, moving))
                measures = measure_pair(persons[fixed], persons[moving], answer.flow, NUMBERINGS[source_of(fixed)])
                rows.append(
                    Row(
                        method=method,
                        fixed=fixed,
                        moving=moving,
                        measures=measures,
                        seconds=round(answer.seconds, 3),
                        memory_gb=answer.memory_gb,
                        gpu_memory_gb=answer.gpu_memory_gb,
                        warnings=answer.warnings,
                    )
                )
    progress(1.0, "Done")
    about = {
        "data": str(data),
        "people": people,
        "validation_people": [name for name in people if name in VALIDATION_PEOPLE],
        "weights": card.name,
        "weights_licence": card.licence,
        "weights_sha256": card.details.get("sha256"),
        "weights_mm_per_voxel": card.voxel_mm,
        "device": str(choose_device(device)),
        "precision": str(number).removeprefix("torch."),
        "bootstrap": {"over": "people", "draws": DRAWS, "seed": SEED},
        "machine": {"system": platform.platform(), "cpus": os.cpu_count(), "torch_threads": torch.get_num_threads()},
        "versions": {"ulae": __version__, "torch": torch.__version__, "SimpleITK": sitk.Version.VersionString()},
    }
    return Evaluation(tuple(rows), card, about)
