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
        licence: of the weights; None takes that of the project's own data, if all runs that led to the weights were on
            it alone. Runs that do not list their people, as the project's first, were on its own.

    Returns:
        The card.

    Raises:
        RegistrationError: where the weights cannot be used, or were trained on other data and `licence` is None.
    """
    network, card = load_network(weights)
    runs = card.details["runs"]
    last = runs[-1]
    people, taught = _union(runs, "people"), _union(runs, "labelled_people")
    heads = max(run.get("heads", 0) for run in runs)
    unlisted = sum("people" not in run for run in runs)
    # Runs that do not list their people may have seen any of the project's own sources.
    cited = [*map(source_of, people), *(SOURCES if unlisted else ())]
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
        "training_data": _training_data(people, heads, unlisted),
        "labels": _labels(taught),
        "validation_people": list(last["recipe"]["validation_people"]),
        "accuracy": last["accuracy"],
        # The best weights of a run were chosen by these people, its last ones and a mean of runs perhaps.
        "accuracy_is": "network alone, mean Dice of cortical labels and folding % (central differences), over the "
        "ordered pairs of the validation people, who may have helped to choose these weights"
        if last["accuracy"]
        else "not measured",
        "cpu_hours": round(sum(run["cpu_hours"] for run in runs), 2),
        "runs": runs,
        "limits": _limits(people, runs, last),
        "citations": citations_of(cited, label_maps=heads > 0 or unlisted > 0),
    }
    save_network(network, target, details)
    return details


def _union(runs: list[dict[str, Any]], name: str) -> list[str]:
    """Return the people whom any of the runs lists under a name, in order."""
    return sorted({person for run in runs for person in run.get(name, ())})


def _training_data(people: list[str], heads: int, unlisted: int) -> str:
    counts = Counter(source_of(person) for person in people)
    sources = ", ".join(f"{source} {count}" for source, count in sorted(counts.items()))
    painted = f"; and brains painted from {heads} label maps of heads" if heads else ""
    others = f"; and people of the project's own data, not listed by {unlisted} of the runs" if unlisted else ""
    return f"{len(people)} people, one T1 scan each: {sources}{painted}{others}"


def _labels(taught: list[str]) -> str:
    if not taught:
        return (
            "No manual label was used in training; those of the validation people at most helped to choose the weights."
        )
    return (
        f"Manual labels of {len(taught)} training people are in the loss ({', '.join(taught)}); those of the "
        f"validation people at most helped to choose the weights."
    )


def _limits(people: list[str], runs: list[dict[str, Any]], last: dict[str, Any]) -> list[str]:
    devices = sorted({run.get("device", "cpu") for run in runs})
    recoloured = any(run.get("recipe", {}).get("augmentation", {}).get("contrasts") for run in runs)
    contrasts = "of other contrasts only recoloured T1 was" if recoloured else "other contrasts were never"
    trained = [person for person in last["recipe"]["validation_people"] if person in people]
    known = [f"Earlier runs were trained on {', '.join(trained)} of the validation people."] if trained else []
    return [
        f"T1-weighted, skull-stripped scans of adults; {contrasts} seen; infants and large lesions were never seen.",
        f"Trained on {len(people)} people, on {' and '.join(devices)}.",
        *known,
        "Not a medical device.",
    ]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, metavar="FILE")
    parser.add_argument("-o", "--output", type=Path, default=SHIPPED, metavar="FILE", help="default: the shipped file")
    parser.add_argument("--licence", help="needed where other data than the project's own was trained on")
    options = parser.parse_args()
    print(json.dumps(ship(options.weights, options.output, options.licence)["accuracy"]))
