"""Evaluate methods on the same ordered pairs of people, with the same measures.

By default the people are all of a folder who have labels; the tables say which of them the weights were trained on.
Their brains are already aligned to the canonical frame, so that only the deformable part is measured.
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
from ..dataset.regions import REGIONS, numbering_of
from ..dataset.sources import VALIDATION_PEOPLE, source_of
from ..errors import RegistrationError
from ..network.devices import choose_device, choose_precision
from ..network.weights import Card, load_network
from ..progress import Progress, silent
from ..settings import Device, Precision
from .measures import Measures, measure_pair
from .method_process import MethodProcess
from .methods import TITLES, check_methods
from .people import image_file, labelled_people, ordered_pairs, read_people
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
    """The result of one method on one pair; seconds and memory as in `method_process.Answer`."""

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
        """The source of the pair."""
        return source_of(self.fixed)

    def value(self, name: str) -> float | None:
        """Return one of `MEASURES`, or a region's mean Dice; None where there is none."""
        values = {**vars(self.measures), **vars(self), **self.measures.regions}
        return values.get(name)

    def to_dict(self) -> dict[str, Any]:
        """Return the source and the attributes by name, for evaluation.json."""
        row = {"source": self.source, **vars(self)}
        return {**row, "measures": self.measures.to_dict(), "warnings": list(self.warnings)}


@dataclass(frozen=True)
class Evaluation:
    """The result of an evaluation.

    Attributes:
        rows: one for each method and pair.
        card: of the weights.
        about: data, people, weights, device, machine and versions, for evaluation.json.
        failures: a sentence for each method that failed; its rows are those of the pairs before.
    """

    rows: tuple[Row, ...]
    card: Card
    about: dict[str, Any]
    failures: tuple[str, ...] = ()

    @property
    def sources(self) -> list[str]:
        """The sources of the pairs, in the order of the rows."""
        return list(dict.fromkeys(row.source for row in self.rows))

    @property
    def methods(self) -> list[str]:
        """The methods, in the order of the rows."""
        return list(dict.fromkeys(row.method for row in self.rows))

    def select(self, source: str, method: str) -> list[Row]:
        """Return the rows of one source and method."""
        return [row for row in self.rows if (row.source, row.method) == (source, method)]

    def summary(self, source: str, method: str, name: str) -> Summary | None:
        """Summarise one measure or region over the pairs of a source; None where no pair has it."""
        found = {(row.fixed, row.moving): row.value(name) for row in self.select(source, method)}
        values = {pair: value for pair, value in found.items() if value is not None}
        return summarise(values) if values else None

    def to_dict(self) -> dict[str, Any]:
        """Return `about`, what failed, the summaries, then every pair with all its labels, for evaluation.json."""
        summaries = []
        for source in self.sources:
            for method in self.methods:
                found = {name: self.summary(source, method, name) for name in (*MEASURES, *REGIONS)}
                values = {name: asdict(summary) for name, summary in found.items() if summary}
                summaries.append({"source": source, "method": method, **values})
        pairs = [row.to_dict() for row in self.rows]
        return {"about": self.about, "failures": list(self.failures), "summaries": summaries, "pairs": pairs}


def evaluate(
    data: Path,
    methods: Sequence[str] = DEFAULT_METHODS,
    people: Sequence[str] | None = None,
    model: str | None = None,
    device: Device = "auto",
    precision: Precision = "auto",
    progress: Progress = silent,
) -> Evaluation:
    """Run every method on every ordered pair of people of one source.

    Args:
        data: folder of `<person>_t1.nii.gz` and `<person>_seg.nii.gz` on the canonical grid, affinely aligned.
        methods: of `methods.METHODS`, in the order of the tables.
        people: their names; None takes everyone of the folder who has labels.
        model, device, precision: of our methods, as in `RegistrationSettings`.
        progress: called with the fraction done and a message before each run; it may raise to stop.

    Raises:
        RegistrationError: for input that cannot be evaluated, before anything is computed, and where no method gives a
            result. Where some fail, the others go on.
    """
    data = Path(data)
    people = list(dict.fromkeys(people)) if people else labelled_people(data)
    check_methods(methods)
    dtype = choose_precision(choose_device(device), precision)
    _, card = load_network(model)
    persons = read_people(data, people)
    pairs = ordered_pairs(people)
    rows: list[Row] = []
    failures: list[str] = []

    def measure(process: MethodProcess, method: str, fixed: str, moving: str) -> Row:
        answer = process.register(image_file(data, fixed), image_file(data, moving))
        return Row(
            method=method,
            fixed=fixed,
            moving=moving,
            measures=measure_pair(persons[fixed], persons[moving], answer.flow, numbering_of(source_of(fixed))),
            seconds=round(answer.seconds, 3),
            memory_gb=answer.memory_gb,
            gpu_memory_gb=answer.gpu_memory_gb,
            warnings=answer.warnings,
        )

    for number, method in enumerate(methods):
        measured = 0
        try:
            with MethodProcess(method, model=model, device=device, precision=precision) as process:
                for done, (fixed, moving) in enumerate(pairs):
                    progress((number + done / len(pairs)) / len(methods), f"{method}: {fixed} <- {moving}")
                    rows.append(measure(process, method, fixed, moving))
                    measured += 1
        except RegistrationError as error:
            failures.append(f"{TITLES[method]} ended after {measured} of {len(pairs)} pairs: {error}")
    if not rows:
        raise RegistrationError(" ".join(failures))
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
        "precision": str(dtype).removeprefix("torch."),
        "bootstrap": {"over": "people", "draws": DRAWS, "seed": SEED},
        "machine": {"system": platform.platform(), "cpus": os.cpu_count(), "torch_threads": torch.get_num_threads()},
        "versions": {"ulae": __version__, "torch": torch.__version__, "SimpleITK": sitk.Version.VersionString()},
    }
    return Evaluation(tuple(rows), card, about, tuple(failures))
