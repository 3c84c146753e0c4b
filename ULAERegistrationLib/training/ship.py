"""Make a run's weights the shipped ones, with a card that is made from what the run did.

`python -m ULAERegistrationLib.training.ship FILE` copies a run's `weights.safetensors`, its best match, or
`last.safetensors`, its end, to `models/` and writes the card.
"""

from __future__ import annotations

import argparse
import json
from collections import Counter
from pathlib import Path
from typing import Any

from ..dataset.sources import LICENCE, SOURCES, citations_of, source_of
from ..errors import RegistrationError
from ..network.weights import SHIPPED, load_network, save_network


def ship(weights: Path, target: Path = SHIPPED, licence: str | None = None) -> dict[str, Any]:
    """Copy the weights of a run and write their card.

    Args:
        weights: `weights.safetensors` or `last.safetensors` of a run.
        target: the shipped file.
        licence: of the weights; None takes that of the project's own data, if the weights were trained on it alone.

    Returns:
        The card.

    Raises:
        RegistrationError: where the weights cannot be used, or were trained on other data and `licence` is None.
    """
    network, card = load_network(weights)
    runs = card.details["runs"]
    last = runs[-1]
    people, taught = last["people"], last["labelled_people"]
    if licence is None and (unknown := {source_of(person) for person in people} - SOURCES.keys()):
        raise RegistrationError(
            f"The weights were trained on people of {', '.join(sorted(unknown))}, whose terms are not known here; say "
            f"the weights' licence with --licence."
        )
    details = {
        "what": "ULAE-net (Shu et al., MICCAI 2021), an implementation of its own, trained from nothing.",
        "licence": licence or LICENCE,
        "voxel_mm": card.voxel_mm,
        "preprocessing": "affine to the template's frame, 1 mm, background 0, intensity / 99.9th percentile, in [0, 1]",
        "training_data": _training_data(people, last["heads"]),
        "labels": _labels(taught),
        "validation_people": list(last["recipe"]["validation_people"]),
        "accuracy": last["accuracy"],
        "accuracy_is": "network alone, mean Dice of cortical labels and folding % (central differences), over the "
        "ordered pairs of the validation people, by which this checkpoint was picked",
        "cpu_hours": round(sum(run["cpu_hours"] for run in runs), 2),
        "runs": runs,
        "limits": _limits(people, runs),
        "citations": citations_of(people, label_maps=last["heads"] > 0),
    }
    save_network(network, target, details)
    return details


def _training_data(people: list[str], heads: int) -> str:
    counts = Counter(source_of(person) for person in people)
    sources = ", ".join(f"{source} {count}" for source, count in sorted(counts.items()))
    painted = f"; and brains painted from {heads} label maps of heads" if heads else ""
    return f"{len(people)} people, one T1 scan each: {sources}{painted}"


def _labels(taught: list[str]) -> str:
    if not taught:
        return "No manual label was used in training; those of the validation people picked the checkpoint."
    return (
        f"Manual labels of {len(taught)} training people are in the loss ({', '.join(taught)}); those of the "
        f"validation people picked the checkpoint only."
    )


def _limits(people: list[str], runs: list[dict[str, Any]]) -> list[str]:
    devices = sorted({run.get("device", "cpu") for run in runs})
    recoloured = any(run.get("recipe", {}).get("augmentation", {}).get("contrasts") for run in runs)
    contrasts = "of other contrasts only recoloured T1 was" if recoloured else "other contrasts were never"
    return [
        f"T1-weighted, skull-stripped scans of adults; {contrasts} seen; infants and large lesions were never seen.",
        f"Trained on {len(people)} people, on {' and '.join(devices)}.",
        "Not a medical device.",
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, metavar="FILE")
    parser.add_argument("-o", "--output", type=Path, default=SHIPPED, metavar="FILE", help="default: the shipped file")
    parser.add_argument("--licence", help="needed where other data than the project's own was trained on")
    options = parser.parse_args()
    print(json.dumps(ship(options.weights, options.output, options.licence)["accuracy"]))
