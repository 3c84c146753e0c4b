"""Whole heads registered as they come, against the same with the brains that their labels give as masks.

    python Testing/benchmarks/whole_heads.py [--preset fast] [--pairs 4] [--template]

NiChart's T1 scans of whole heads in `shared/data/heads/nichart` (2 mm); the mean Dice of the DLMUSE regions of both,
moving labels carried along by nearest neighbour, after the alignment alone and after the registration. With
`--template` all heads are registered to the template, which has no labels: what counts is how well their labels agree
there, as the mean Dice over all pairs of heads.
"""

from __future__ import annotations

import argparse
from itertools import combinations

import numpy as np
import SimpleITK as sitk
from data_folder import DATA

from ULAERegistrationLib import Registration, register
from ULAERegistrationLib.geometry.canonical import template
from ULAERegistrationLib.geometry.resampling import resample
from ULAERegistrationLib.overlap import dice

HEADS = DATA / "heads" / "nichart"
SMALLEST = 400  # mm^3: the overlap of smaller regions says little


def mean_dice(found: sitk.Image, labels: sitk.Image) -> float:
    theirs = sitk.GetArrayFromImage(labels)
    overlap = dice(sitk.GetArrayFromImage(found), theirs)
    regions, counts = np.unique(theirs, return_counts=True)
    volumes = counts * np.prod(labels.GetSpacing())
    large = [int(region) for region, volume in zip(regions, volumes, strict=True) if region and volume >= SMALLEST]
    return float(np.mean([overlap[region] for region in large]))


def row(fixed: str, moving: str, labels: dict[str, sitk.Image], masked: bool, options: argparse.Namespace) -> str:
    masks = {}
    if masked:
        masks = {"fixed_mask": labels[fixed] != 0, "moving_mask": labels[moving] != 0}
    registration: Registration = register(
        HEADS / f"{fixed}_t1.nii.gz",
        HEADS / f"{moving}_t1.nii.gz",
        preset=options.preset,
        **masks,
    )
    quality = registration.quality
    aligned = resample(labels[moving], registration.fixed, registration.alignment.fixed_to_moving, labels=True)
    before, after = (mean_dice(image, labels[fixed]) for image in (aligned, registration.warp_labels(labels[moving])))
    seconds = ", ".join(f"{name} {value:.1f}" for name, value in quality.seconds.items())
    how = "their labels" if masked else "brain extraction"
    overlaps = f"{before:.4f} | {after:.4f} | {quality.ncc_after:.3f}"
    return f"| {fixed} <- {moving} | {how} | {overlaps} | {quality.verdict} | {seconds} |"


def template_row(people: list[str], labels: dict[str, sitk.Image], masked: bool, options: argparse.Namespace) -> str:
    """Register all heads to the template and compare their labels there."""
    fixed = template()
    carried: dict[str, list[sitk.Image]] = {"aligned": [], "registered": []}
    verdicts, similarity = [], []
    for person in people:
        registration = register(
            fixed,
            HEADS / f"{person}_t1.nii.gz",
            preset=options.preset,
            moving_mask=labels[person] != 0 if masked else None,
        )
        linear = registration.alignment.fixed_to_moving
        carried["aligned"].append(resample(labels[person], fixed, linear, labels=True))
        carried["registered"].append(registration.warp_labels(labels[person]))
        verdicts.append(registration.quality.verdict)
        similarity.append(registration.quality.ncc_after)
    overlaps = " | ".join(
        f"{np.mean([mean_dice(one, other) for one, other in combinations(images, 2)]):.4f}"
        for images in carried.values()
    )
    how = "their labels" if masked else "brain extraction"
    counted = ", ".join(f"{verdicts.count(verdict)} {verdict}" for verdict in dict.fromkeys(verdicts))
    return f"| template <- {len(people)} heads | {how} | {overlaps} | {np.mean(similarity):.3f} | {counted} | |"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--pairs", type=int, default=4)
    parser.add_argument("--template", action="store_true", help="register all heads, not pairs, to the template")
    options = parser.parse_args()
    people = sorted(path.name.removesuffix("_t1.nii.gz") for path in HEADS.glob("*_t1.nii.gz"))
    labels = {person: sitk.ReadImage(str(HEADS / f"{person}_t1_labels.nii.gz")) for person in people}
    print("| pair | brains by | aligned | registered | local correlation | verdict | seconds |\n|" + "---|" * 7)
    if options.template:
        for masked in (False, True):
            print(template_row(people, labels, masked, options), flush=True)
        return
    for fixed, moving in list(zip(people[::2], people[1::2], strict=True))[: options.pairs]:
        for masked in (False, True):
            print(row(fixed, moving, labels, masked, options), flush=True)


if __name__ == "__main__":
    main()
