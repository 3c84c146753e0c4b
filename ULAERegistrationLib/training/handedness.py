"""Learn from the training brains by which differences between its halves a brain is told from its mirror image.

`python -m ULAERegistrationLib.training.handedness ../shared/data` writes `handedness.npy` and `handedness.json` to
`models/`; `geometry.likeness` reads them. The validation people are left out.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..dataset.sources import LICENCE, VALIDATION_PEOPLE, citations_of, source_of
from ..geometry.likeness import block_means, half_differences
from ..shipped import MODELS
from .template import training_people

# Of the blocks' summed variance divided by the number of people, added to the variance of each block; between .03 and 1
# the held-out people are told equally well.
SHRINKAGE = 0.1
PARTS = 5  # into which the people of a source are divided that has more than a third of all
CARD = {
    "what": "Linear discriminant between the halves of T1 brains and of their mirror images.",
    "grid": "20 x 48 x 40 blocks of 4 mm of the canonical frame's right half, int8; the left half is its negative",
    "licence": LICENCE,
    "made_by": "python -m ULAERegistrationLib.training.handedness <data folder>",
}


def discriminant(differences: np.ndarray) -> np.ndarray:
    """Compute the direction along which the people's differences lie furthest from zero, by their standard deviation.

    It is Fisher's linear discriminant between the differences and their negatives, with a shrunk covariance.

    Args:
        differences: between the halves of each person, [people, blocks].

    Returns:
        Unit vector, [blocks].
    """
    scaled = differences / np.linalg.norm(differences, axis=1, keepdims=True)
    mean = scaled.mean(0)
    centred, number = scaled - mean, len(scaled)
    products = centred @ centred.T / number
    shrinkage = SHRINKAGE * np.trace(products) / number
    # (shrinkage + covariance)^-1 mean, by Woodbury's identity: there are far more blocks than people.
    solved = np.linalg.solve(products + shrinkage * np.eye(number), centred @ mean) / number
    direction = mean - centred.T @ solved
    return direction / np.linalg.norm(direction)


def held_out_scores(differences: np.ndarray, people: Sequence[str]) -> np.ndarray:
    """Compute the handedness of each person by the discriminant of people of other sources.

    A source that has more than a third of all people is divided into `PARTS`, each of which is left out in turn.

    Args:
        differences: as `discriminant` takes them.
        people: their names, which begin with their source.

    Returns:
        The cosine between each person's differences and the discriminant, [people].
    """
    scores = np.zeros(len(people))
    for part in _parts(people):
        direction = discriminant(np.delete(differences, part, 0))
        scores[part] = differences[part] @ direction / np.linalg.norm(differences[part], axis=1)
    return scores


def _parts(people: Sequence[str]) -> Iterator[np.ndarray]:
    sources = np.array([source_of(person) for person in people])
    for source in sorted(set(sources)):
        members = np.flatnonzero(sources == source)
        yield from np.array_split(members, PARTS) if 3 * len(members) > len(people) else [members]


def main() -> None:
    """Run the command line: write the discriminant and its card, by default to `models/`."""
    parser = argparse.ArgumentParser(description="Learn how a brain is told from its mirror image.")
    parser.add_argument("data", type=Path, help="the folder that holds brains/")
    parser.add_argument("-o", "--output", type=Path, default=MODELS, help="where to write (default: the package)")
    arguments = parser.parse_args()
    people = training_people(arguments.data / "brains")
    halves = []
    for person in people:
        brain = sitk.ReadImage(str(arguments.data / "brains" / f"{person}_t1.nii.gz"))
        differences, inside = half_differences(block_means(sitk.GetArrayViewFromImage(brain).transpose(2, 1, 0)))
        halves.append((differences * inside)[: len(differences) // 2])
    shape = halves[0].shape
    differences = np.stack(halves).reshape(len(people), -1)
    found = discriminant(differences)
    scores = held_out_scores(differences, people)
    np.save(
        arguments.output / "handedness.npy", np.rint(127 * found / np.abs(found).max()).astype(np.int8).reshape(shape)
    )
    card = CARD | {
        "held_out": {"wrong_side": int((scores < 0).sum()), "lowest": round(float(scores.min()), 3)},
        "citations": citations_of(map(source_of, people), label_maps=False),
        "people": people,
        "left_out_for_validation": list(VALIDATION_PEOPLE),
    }
    (arguments.output / "handedness.json").write_text(json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    main()
