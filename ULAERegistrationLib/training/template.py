"""Average the training brains to the template of the alignment.

`python -m ULAERegistrationLib.training.template ../shared/data` writes `template.nii.gz`, `template_mask.nii.gz` and
`template.json` to `models/`. By default the validation people are left out, so that the template does not depend on
them.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ..dataset.sources import LICENCE, VALIDATION_PEOPLE, citations_of, source_of
from ..geometry.canonical import canonical_grid
from ..geometry.frame import CANONICAL_SIZE
from ..shipped import MODELS

CARD = {
    "what": "Voxel-wise mean of skull-stripped T1 brains in one common affine frame, and the mask of their majority.",
    "grid": "160 x 192 x 160 voxels of 1 mm, axes growing to Left, Posterior, Superior; uint8",
    "licence": LICENCE,
    "made_by": "python -m ULAERegistrationLib.training.template <data folder>",
}


def training_people(brains: Path) -> list[str]:
    """List the people in the folder `brains` except the validation people, sorted by name."""
    people = sorted(path.name.removesuffix("_t1.nii.gz") for path in brains.glob("*_t1.nii.gz"))
    return [person for person in people if person not in VALIDATION_PEOPLE]


def average(brains: Path, people: Sequence[str]) -> tuple[sitk.Image, sitk.Image]:
    """Average the brains of some people, and mask the voxels that most of them have in the brain.

    Args:
        brains: folder of `<person>_t1.nii.gz`, uint8, all on the canonical grid.
        people: names of those to average.

    Returns:
        The template (uint8, each person scaled to a 99.9th percentile of 254) and its mask (uint8, 0 or 1: foreground
        in at least half of the people, opened by 2 mm and with holes filled).
    """
    image = canonical_grid()
    total = np.zeros(CANONICAL_SIZE[::-1], np.float32)
    count = np.zeros(CANONICAL_SIZE[::-1], np.uint16)
    for person in people:
        image = sitk.ReadImage(str(brains / f"{person}_t1.nii.gz"))
        values = sitk.GetArrayFromImage(image).astype(np.float32)
        total += np.minimum(values / np.percentile(values[values > 0], 99.9), 1)
        count += values > 0
    mask = sitk.GetImageFromArray((2 * count >= len(people)).astype(np.uint8))
    mask = sitk.BinaryFillhole(sitk.BinaryMorphologicalOpening(mask, (2, 2, 2)))
    # Remove parts of the neck and the skull that imperfect skull stripping left in a few people.
    near = sitk.GetArrayFromImage(sitk.BinaryDilate(mask, (3, 3, 3)))
    # Only even intensities, which compress better: the file is a quarter smaller.
    template = sitk.GetImageFromArray((2 * np.rint(127 * total / len(people) * near)).astype(np.uint8))
    for result in (template, mask):
        result.CopyInformation(image)
    return template, mask


def main() -> None:
    """Run the command line: write the template, its mask and its card, by default to `models/`."""
    parser = argparse.ArgumentParser(description="Average the training brains into the template.")
    parser.add_argument("data", type=Path, help="the folder that holds brains/")
    parser.add_argument("-o", "--output", type=Path, default=MODELS, help="where to write (default: the package)")
    parser.add_argument("--people", nargs="+", help="who is averaged (default: all training people in the folder)")
    arguments = parser.parse_args()
    people = arguments.people or training_people(arguments.data / "brains")
    template, mask = average(arguments.data / "brains", people)
    sitk.WriteImage(template, str(arguments.output / "template.nii.gz"), useCompression=True, compressionLevel=9)
    sitk.WriteImage(mask, str(arguments.output / "template_mask.nii.gz"), useCompression=True, compressionLevel=9)
    card = CARD | {
        "citations": citations_of(map(source_of, people), label_maps=False),
        "people": people,
        "left_out_for_validation": [person for person in VALIDATION_PEOPLE if person not in people],
    }
    (arguments.output / "template.json").write_text(json.dumps(card, indent=2) + "\n")


if __name__ == "__main__":
    main()
