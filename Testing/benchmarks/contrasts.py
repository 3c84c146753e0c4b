"""Registration across contrasts: overlap of tissues on two people whose scans of all contrasts lie in one frame.

    python Testing/benchmarks/contrasts.py [--preset fast] [--data ../shared/data]

Tissues are the three classes of a k-means of each person's T1, which the registration of the other contrasts never
sees; they are carried by the transform that was found. Dice of white and of grey matter, after the alignment and
after the registration.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ULAERegistrationLib import register
from ULAERegistrationLib.geometry.resampling import resample
from ULAERegistrationLib.overlap import dice
from ULAERegistrationLib.settings import PRESETS

SCANS = ("t1", "t1ce", "t2", "flair")
GREY, WHITE = 2, 3


def tissues(t1: sitk.Image, passes: int = 20) -> sitk.Image:
    """The three classes of a k-means of a stripped T1's intensities: 1 fluid, 2 grey, 3 white matter."""
    values = sitk.GetArrayFromImage(t1).astype(np.float32)
    brain = values > 0
    centres = np.percentile(values[brain], (15, 50, 85))
    for _ in range(passes):
        nearest = np.abs(values[brain][:, None] - centres).argmin(1)
        centres = np.array([values[brain][nearest == number].mean() for number in range(3)])
    labels = np.zeros(values.shape, np.uint8)
    labels[brain] = 1 + np.abs(values[brain][:, None] - centres).argmin(1)
    image = sitk.GetImageFromArray(labels)
    image.CopyInformation(t1)
    return image


def scores(found: sitk.Image, theirs: sitk.Image) -> dict[int, float]:
    """The Dice of each tissue of two label maps on one grid."""
    return dice(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(theirs))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="fast")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    folder = options.data / "heads" / "cross"
    fixed, moving = (tissues(sitk.ReadImage(str(folder / f"{person}_t1.nii.gz"))) for person in ("ms07", "ms26"))
    print("| fixed <- moving | taken as | alignment: white, grey | registered: white, grey | folded, % | verdict |")
    print("|---|---|---|---|---|---|")
    for first, second in product(SCANS, SCANS):
        found = register(folder / f"ms07_{first}.nii.gz", folder / f"ms26_{second}.nii.gz", preset=options.preset)
        aligned = resample(moving, fixed, found.alignment.fixed_to_moving, labels=True)
        both = [scores(labels, fixed) for labels in (aligned, found.warp_labels(moving))]
        cells = " | ".join(f"{one[WHITE]:.3f}, {one[GREY]:.3f}" for one in both)
        contrast, quality = found.provenance.settings["contrast"], found.quality
        print(
            f"| {first} <- {second} | {contrast} | {cells} | {quality.folded_percent_brain:.2f} | {quality.verdict} |",
            flush=True,
        )


if __name__ == "__main__":
    main()
