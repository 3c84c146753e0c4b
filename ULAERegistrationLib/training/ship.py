"""Make a run's weights the shipped ones, with a card that says how they came about.

`python -m ULAERegistrationLib.training.ship FILE` copies a run's `weights.safetensors`, its best match, or
`last.safetensors`, its end, to `models/` and writes the card.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path

from ..dataset.sources import CITATIONS, LICENCE, VALIDATION_PEOPLE
from ..network.weights import SHIPPED, load_network, save_network

LIMITS = [
    "T1-weighted, skull-stripped scans of adults; other contrasts, infants and large lesions were never seen.",
    "Trained on few people (34), on CPUs only.",
    "Not a medical device.",
]


def ship(weights: Path, target: Path = SHIPPED) -> dict:
    """Copy the weights of a run and write their card.

    Args:
        weights: a file of a finished or stopped run.
        target: the shipped file.

    Returns:
        The card.

    Raises:
        RegistrationError: where the file holds no usable weights.
    """
    network, card = load_network(weights)
    runs = card.details["runs"]
    details = {
        "what": "ULAE-net (Shu et al., MICCAI 2021), an implementation of its own, trained from nothing.",
        "licence": LICENCE,
        "voxel_mm": card.voxel_mm,
        "preprocessing": "affine to the template's frame, 1 mm, background 0, intensity / 99.9th percentile, in [0, 1]",
        "training_data": "34 people, one T1 scan each: NIREP 8, OASIS 17, 1000 Functional Connectomes 6, three "
        "singles; and brains painted from 6 label maps of heads",
        "validation_people": list(VALIDATION_PEOPLE),
        "accuracy": runs[-1]["accuracy"],
        "accuracy_is": "network alone, mean Dice of cortical labels and folding % (central differences), over the "
        "ordered pairs of the validation people, by which this checkpoint was picked",
        "cpu_hours": round(sum(one["cpu_hours"] for one in runs), 2),
        "runs": runs,
        "limits": LIMITS,
        "citations": CITATIONS,
    }
    save_network(network, target, details)
    return details


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, metavar="FILE")
    print(json.dumps(ship(parser.parse_args().weights)["accuracy"]))
