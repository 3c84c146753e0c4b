"""Registration across contrasts: overlap of tissues on two people whose scans of all contrasts lie in one frame.

    python Testing/benchmarks/contrasts.py [--preset fast] [--swapped] [--data FOLDER]
    python Testing/benchmarks/contrasts.py --limits
    python Testing/benchmarks/contrasts.py --syn t1-t1 t1-flair flair-t1

Tissues are the three classes of a k-means of each person's T1, which the registration of the other contrasts never
sees; they are carried by the transform that was found. Dice of white and of grey matter, after the alignment and
after the registration.

`--limits` asks what keeps the other contrasts behind T1. It registers the moving person's T1 with its intensities
changed to those of another contrast, so that all tissues lie where T1 shows them; and it compares the tissues that
each scan shows with those of the same person's T1. `--syn` registers pairs by SyN of ANTs with mutual information,
from the same alignment.
"""

from __future__ import annotations

import argparse
from itertools import product
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from data_folder import DATA

from ULAERegistrationLib import register
from ULAERegistrationLib.evaluation.baselines import check_package, syn
from ULAERegistrationLib.geometry.resampling import resample
from ULAERegistrationLib.geometry.transforms import total_transform
from ULAERegistrationLib.overlap import dice
from ULAERegistrationLib.placement import place
from ULAERegistrationLib.progress import silent
from ULAERegistrationLib.scan_brain import find_both_brains
from ULAERegistrationLib.settings import PRESETS, RegistrationSettings
from ULAERegistrationLib.tensors import array_of, tensor_of
from ULAERegistrationLib.training.contrasts import T1_LEVELS

SCANS = ("t1", "t1ce", "t2", "flair")
PEOPLE = ("ms07", "ms26")
FLUID, GREY, WHITE = 1, 2, 3
# The classes of a scan from dark to bright.
T1_ORDER = (FLUID, GREY, WHITE)
ORDERS = {"t1": T1_ORDER, "t1ce": T1_ORDER, "t2": (WHITE, GREY, FLUID), "flair": (FLUID, WHITE, GREY)}
# What a T1 is made to look like: white matter, grey matter and fluid as fractions of full scale, about as the scans of
# the two people show them (medians of white and grey matter where T1 shows them; of fluid, what the ventricles have).
LOOKS = {"t2": (0.27, 0.33, 0.90), "flair": (0.67, 0.80, 0.30)}
# Standard deviation of noise, of full scale, and sigma of the blur before it, mm.
WORSE = ((0.0, 0.0), (0.02, 0.0), (0.02, 0.7))


def tissues(scan: sitk.Image, order: tuple[int, ...] = T1_ORDER, passes: int = 20) -> sitk.Image:
    """The three classes of a k-means of a stripped scan's intensities, numbered by the order from dark to bright."""
    values = sitk.GetArrayFromImage(scan).astype(np.float32)
    brain = values > 0
    centres = np.percentile(values[brain], (15, 50, 85))
    for _ in range(passes):
        nearest = np.abs(values[brain][:, None] - centres).argmin(1)
        centres = np.array([values[brain][nearest == number].mean() for number in range(3)])
    labels = np.zeros(values.shape, np.uint8)
    labels[brain] = np.array(order)[np.abs(values[brain][:, None] - centres).argmin(1)]
    image = sitk.GetImageFromArray(labels)
    image.CopyInformation(scan)
    return image


def recoloured(t1: sitk.Image, contrast: str, noise: float, blur: float) -> sitk.Image:
    """A stripped T1 with the intensities of another contrast, one of `LOOKS`, blurred and noisy."""
    white, grey, fluid = LOOKS[contrast]
    values = sitk.GetArrayFromImage(t1).astype(np.float32)
    brain = values > 0
    values /= np.percentile(values[brain], 99.9)
    mapped = np.interp(values, (0, 0.02, *T1_LEVELS, 1), (0, fluid / 2, fluid, grey, white, white)).astype(np.float32)
    image = sitk.GetImageFromArray(mapped)
    image.CopyInformation(t1)
    if blur:
        image = sitk.DiscreteGaussian(image, blur**2)
    drawn = np.random.default_rng(0).standard_normal(mapped.shape, np.float32)
    worse = (sitk.GetArrayFromImage(image) + noise * drawn).clip(0.01) * brain
    result = sitk.GetImageFromArray(255 * worse)
    result.CopyInformation(t1)
    return result


def scores(found: sitk.Image, theirs: sitk.Image) -> dict[int, float]:
    """The Dice of each tissue of two label maps on one grid."""
    return dice(sitk.GetArrayFromImage(found), sitk.GetArrayFromImage(theirs))


def pairs_table(folder: Path, preset: str, people: tuple[str, ...]) -> None:
    """Register each contrast of the second person to each of the first."""
    fixed, moving = (tissues(read(folder, person, "t1")) for person in people)
    print("| fixed <- moving | taken as | alignment: white, grey | registered: white, grey | folded, % | verdict |")
    print("|---|---|---|---|---|---|")
    for first, second in product(SCANS, SCANS):
        found = register(read(folder, people[0], first), read(folder, people[1], second), preset=preset)
        aligned = resample(moving, fixed, found.alignment.fixed_to_moving, labels=True)
        both = [scores(labels, fixed) for labels in (aligned, found.warp_labels(moving))]
        cells = " | ".join(f"{one[WHITE]:.3f}, {one[GREY]:.3f}" for one in both)
        contrast, quality = found.provenance.settings["contrast"], found.quality
        print(
            f"| {first} <- {second} | {contrast} | {cells} | {quality.folded_percent_brain:.2f} | {quality.verdict} |",
            flush=True,
        )


def limits(folder: Path, preset: str) -> None:
    """Compare what each scan shows with the same person's T1, and register T1 scans that look like other contrasts."""
    print("| scan | white, grey: its own classes and those of T1 |")
    print("|---|---|")
    for person, contrast in product(PEOPLE, SCANS[1:]):
        own = scores(tissues(read(folder, person, contrast), ORDERS[contrast]), tissues(read(folder, person, "t1")))
        print(f"| {person} {contrast} | {own[WHITE]:.3f}, {own[GREY]:.3f} |")
    first, second = (read(folder, person, "t1") for person in PEOPLE)
    fixed, moving = tissues(first), tissues(second)
    print("\n| t1 <- t1 that looks like | noise | blur, mm | taken as | registered: white, grey |")
    print("|---|---|---|---|---|")
    for contrast, (noise, blur) in product(LOOKS, WORSE):
        found = register(first, recoloured(second, contrast, noise, blur), preset=preset)
        one = scores(found.warp_labels(moving), fixed)
        taken = found.provenance.settings["contrast"]
        print(f"| {contrast} | {noise} | {blur} | {taken} | {one[WHITE]:.3f}, {one[GREY]:.3f} |", flush=True)


def by_syn(folder: Path, pairs: list[str]) -> None:
    """Register pairs by SyN with mutual information, from our alignment and with ANTs' own affine map after it."""
    check_package("syn", "antspyx", "ants")
    fixed, moving = (tissues(read(folder, person, "t1")) for person in PEOPLE)
    settings = RegistrationSettings()
    print("| fixed <- moving | SyN: white, grey |")
    print("|---|---|")
    for pair in pairs:
        first, second = (read(folder, *which) for which in zip(PEOPLE, pair.split("-"), strict=True))
        brains = find_both_brains((first, second), (None, None), settings)
        placed = place((first, second), (brains[0].shown, brains[1].shown), settings, None, silent)
        images = (tensor_of(image)[None, None] for image in (placed.fixed, placed.moving))
        flow, _ = syn(**dict(zip(("fixed", "moving"), images, strict=True)))
        transform = total_transform(array_of(flow[0]), placed.alignment)
        one = scores(resample(moving, fixed, transform, labels=True), fixed)
        print(f"| {pair.replace('-', ' <- ')} | {one[WHITE]:.3f}, {one[GREY]:.3f} |", flush=True)


def read(folder: Path, person: str, contrast: str) -> sitk.Image:
    return sitk.ReadImage(str(folder / f"{person}_{contrast}.nii.gz"))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--preset", choices=PRESETS, default="fast")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--swapped", action="store_true", help="take the other person for the fixed one")
    parser.add_argument("--limits", action="store_true", help="what keeps the other contrasts behind T1")
    parser.add_argument("--syn", nargs="+", metavar="PAIR", help="register these pairs by SyN, such as t1-flair")
    options = parser.parse_args()
    folder = options.data / "heads" / "cross"
    if options.limits:
        limits(folder, options.preset)
    elif options.syn:
        by_syn(folder, options.syn)
    else:
        pairs_table(folder, options.preset, PEOPLE[::-1] if options.swapped else PEOPLE)


if __name__ == "__main__":
    main()
