"""The mean of the weights of runs of which each began with the weights of the one before.

`python -m ULAERegistrationLib.training.mean DATA FILE FILE... -o FILE` writes it with a card, for `ship`, validated on
the pairs of the latest run in float32, whatever the precision of that run. Such a mean often does better than each of
them, at the cost of one (Wortsman et al., Model soups, ICML 2022).
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

from ..errors import RegistrationError
from ..network.ulaenet import ULAENet
from ..network.weights import load_network, save_network
from .data import Brains
from .validation import validate


def mean(files: Sequence[Path], data: Path, target: Path) -> dict[str, float]:
    """Write the mean of the weights of some files.

    Args:
        files: `weights.safetensors` or `last.safetensors` of the runs, the latest last.
        data: the packed file, whose validation people are those of the latest run.
        target: the file to write; its card lists the runs of the latest, the last one with the accuracy of the mean and
            the numbers of the runs, from 1, whose weights are in it (`mean_of_runs`).

    Returns:
        The accuracy, in float32.

    Raises:
        RegistrationError: where a file or the data cannot be used, or where the runs did not lead to one another.
    """
    networks, cards = zip(*(load_network(file) for file in files), strict=True)
    histories = [card.details.get("runs", []) for card in cards]
    latest = histories[-1]
    numbers = [len(history) for history in histories]
    recipes = [[run.get("recipe") for run in history] for history in histories]
    if (
        0 in numbers
        or numbers != sorted(set(numbers))
        or any(recipe != recipes[-1][: len(recipe)] for recipe in recipes)
    ):
        raise RegistrationError("These runs did not lead to one another; give weights of one line of runs, in order.")
    averaged = ULAENet().eval()
    states = [network.state_dict() for network in networks]
    averaged.load_state_dict({name: sum(state[name] for state in states) / len(states) for name in states[-1]})
    voxel_mm = cards[-1].voxel_mm
    accuracy = validate(averaged, Brains(data, latest[-1]["recipe"]["validation_people"]), voxel_mm)
    # Kept with the run, so that the history of runs that begin with these weights tells it too.
    runs = [*latest[:-1], {**latest[-1], "mean_of_runs": numbers, "accuracy": accuracy}]
    licence = {name: value for name, value in cards[-1].details.items() if name == "licence"}
    save_network(averaged, target, {"voxel_mm": voxel_mm, "runs": runs, **licence})
    return accuracy


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, metavar="DATA", help="the packed file")
    parser.add_argument("files", type=Path, nargs="+", metavar="FILE", help="weights of the runs, the latest last")
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="FILE")
    options = parser.parse_args()
    print(json.dumps(mean(options.files, options.data, options.output)))
