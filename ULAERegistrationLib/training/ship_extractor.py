"""Make a run's brain extraction weights the shipped ones, with a card that says how they came about.

`python -m ULAERegistrationLib.training.ship_extractor RUN/last.safetensors [--table FILE]` copies them to `models/`;
the table is what `Testing/benchmarks/brain_masks.py --json FILE` measured with these weights.
"""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

from ..network.brain_net import ARCHITECTURE, BRAIN_WEIGHTS, SIZE, SPACING, BrainNet
from ..network.weight_files import read_weights, save_weights
from .head_data import HELD_OUT, MEASURED

LICENCE = (
    "Apache-2.0 for the weights; made from SynthSeg's label maps (Apache-2.0) and open MS data (CC BY 4.0), both to be "
    "cited"
)
CITATIONS = [
    "Label maps of heads, intensity priors: Billot B et al., SynthSeg, Medical Image Analysis 86, 2023; "
    "doi:10.1016/j.media.2023.102789 (Apache-2.0).",
    "One person's T1, T2 and FLAIR at two visits: Lesjak Z et al., Validation of white-matter lesion change detection "
    "methods on a novel publicly available MRI image database, Neuroinformatics 14(4), 2016 (CC BY 4.0).",
    "Stripped T1, contrast-enhanced T1, T2 and FLAIR of two people: Lesjak Z et al., A novel public MR image dataset "
    "of multiple sclerosis patients with lesion segmentations based on multi-rater consensus, Neuroinformatics 16(1), "
    "2018; doi:10.1007/s12021-017-9348-7 (CC BY 4.0).",
]


def ship(weights: Path, table: Path | None = None, target: Path = BRAIN_WEIGHTS) -> dict[str, Any]:
    """Copy the weights of a run and write their card.

    Args:
        weights: `last.safetensors` of a run.
        table: the benchmark's measures of these weights, JSON; None leaves the card without accuracy.
        target: the shipped file.

    Returns:
        The card.

    Raises:
        RegistrationError: where the weights cannot be used.
    """
    values = read_weights(weights, BrainNet(), ARCHITECTURE)[0]
    run = json.loads(weights.with_suffix(".json").read_text())
    rows = json.loads(table.read_text())["own"] if table else {}
    card = {
        "architecture": ARCHITECTURE,
        "what": "A U-Net that finds the brain in scans of whole heads of any contrast, trained from nothing.",
        "licence": LICENCE,
        "preprocessing": f"{SIZE} voxels of {SPACING} mm a side, axes of the body, first percentile to 98th of the "
        "bright half as [0, 1]",
        "training_data": "heads painted from 18 of SynthSeg's 20 label maps in random contrasts, each map also with "
        "atrophy, since the third run with strong atrophy, since the fourth with the membranes around the brain; 15 % "
        "of the images from real scans: six raw scans of one MS patient, eight stripped ones of two others",
        "held_out": [*HELD_OUT, *MEASURED],
        "brain_is": "cerebrum, cerebellum, brain stem, ventricles, the fluid between them (closing of 5 mm), and the "
        "fluid up to 5 mm around them but for its outermost millimetre, which includes the fluid that atrophy leaves",
        "runs": run["runs"],
        "validation": run["validation"],
        "accuracy": {name: round(row["dice"], 4) for name, row in rows.items() if "dice" in row},
        "accuracy_is": "Dice with reference masks (DLMUSE's labels for nichart, the data's own mask for ms01), Testing/"
        "benchmarks/brain_masks.py; ms01 was trained on, scans named 'against deepbet' have no other reference",
        "limits": ["Not a medical device.", "Large tumours, resections and newborns were never seen."],
        "citations": CITATIONS,
    }
    save_weights(values, target, card)
    return card


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("weights", type=Path, metavar="FILE")
    parser.add_argument("--table", type=Path)
    options = parser.parse_args()
    shipped = ship(options.weights, options.table)
    print(json.dumps({name: shipped[name] for name in ("runs", "validation", "accuracy")}, indent=1))
