"""The labels that are taught and scored: the cortical ones of each known source, grouped into the paper's five regions.

Of every other source, whose numbering is its own, these are all labels above 0, in no regions.

A region's score is the mean over its labels. The insula counts as cortex but belongs to none of the five regions.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from ..overlap import dice


@dataclass(frozen=True)
class Numbering:
    """The numbers of a source's labels.

    Attributes:
        name: of the protocol.
        cortical: the labels that are taught and scored; all others are ignored.
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
    """Return the labels of both sides; in BrainCOLOR a left label is that of the right side plus one."""
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
MOST = 2**24  # labels beyond it are no whole numbers as float32, as which they are warped
NUMBERINGS = {"nirep": NIREP, "oasis": BRAINCOLOR}


def numbering_of(source: str) -> Numbering:
    """Return the numbering of the labels of a source, by its name."""
    return NUMBERINGS.get(source) or Numbering(source, range(1, MOST), {})


def cortical_dice(labels_a: np.ndarray, labels_b: np.ndarray, numbering: Numbering) -> dict[int, float]:
    """Compute the Dice of every cortical label that occurs in either of two label maps of one shape."""
    return {label: score for label, score in dice(labels_a, labels_b).items() if label in numbering.cortical}


def mean_dice(labels_a: np.ndarray, labels_b: np.ndarray, source: str) -> float:
    """Compute the mean Dice of the cortical labels that occur in either of two label maps of a source."""
    return float(np.mean(list(cortical_dice(labels_a, labels_b, numbering_of(source)).values())))


def by_region(scores: Mapping[int, float], numbering: Numbering) -> dict[str, float]:
    """Compute the mean score of each region's labels; a region without a scored label is left out."""
    found = {name: [scores[n] for n in sorted(labels & scores.keys())] for name, labels in numbering.regions.items()}
    return {name: float(np.mean(values)) for name, values in found.items() if values}
