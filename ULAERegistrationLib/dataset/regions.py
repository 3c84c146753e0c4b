"""Which labels are scored: the cortical ones of each source, in the paper's five regions.

A region's score is the mean over its labels; the insula counts as cortex but belongs to none of the five.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..overlap import dice


@dataclass(frozen=True)
class Numbering:
    """How a source numbers its labels.

    Attributes:
        cortical: the labels that are scored; all others are left out.
        regions: the paper's five (Table 1), each a set of cortical labels.
    """

    name: str
    cortical: range
    regions: Mapping[str, frozenset[int]]


NIREP = Numbering(
    "NIREP",
    range(1, 33),
    {
        "frontal": frozenset(range(15, 27)),
        "parietal": frozenset(range(27, 33)),
        "occipital": frozenset({1, 2}),
        "temporal": frozenset(range(7, 15)),
        "cingulate": frozenset({3, 4}),
    },
)


def _pairs(*rights: int) -> frozenset[int]:
    """BrainCOLOR numbers the right side even and the left one more."""
    return frozenset(label for right in rights for label in (right, right + 1))


BRAINCOLOR = Numbering(
    "BrainCOLOR",
    range(100, 208),
    {
        "frontal": _pairs(
            *(104, 112, 118, 120, 124, 136, 140, 142, 146, 150),
            *(152, 162, 164, 178, 182, 186, 190, 192, 204),
        ),
        "parietal": _pairs(106, 148, 168, 174, 176, 194, 198),
        "occipital": _pairs(108, 114, 128, 134, 144, 156, 160, 196),
        "temporal": _pairs(116, 122, 132, 154, 170, 180, 184, 200, 202, 206),
        "cingulate": _pairs(100, 138, 166),
    },
)
REGIONS = tuple(NIREP.regions)
NUMBERINGS = {"nirep": NIREP, "oasis": BRAINCOLOR}


def cortical_dice(labels_a: np.ndarray, labels_b: np.ndarray, numbering: Numbering) -> dict[int, float]:
    """Dice of every cortical label found in either of two label maps of one shape."""
    return {label: score for label, score in dice(labels_a, labels_b).items() if label in numbering.cortical}


def mean_dice(labels_a: np.ndarray, labels_b: np.ndarray, source: str) -> float:
    """Mean Dice of the cortical labels of a source found in either map."""
    return float(np.mean(list(cortical_dice(labels_a, labels_b, NUMBERINGS[source]).values())))


def by_region(scores: Mapping[int, float], numbering: Numbering) -> dict[str, float]:
    """Mean score of each region's labels; a region none of whose labels was scored is left out."""
    found = {name: [scores[n] for n in sorted(labels & scores.keys())] for name, labels in numbering.regions.items()}
    return {name: float(np.mean(values)) for name, values in found.items() if values}
