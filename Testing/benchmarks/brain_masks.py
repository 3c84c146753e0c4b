"""Brain masks of whole heads: Dice, seconds and peak memory of our own extractor and of deepbet.

    python Testing/benchmarks/brain_masks.py [--extractors own deepbet] [--model FILE] [--data FOLDER] [--json FILE]
    python Testing/benchmarks/brain_masks.py --slabs    # of three heads, by our own extractor: Dice, and sides cut off

deepbet's files are those of its package (`pip install --no-deps deepbet==1.0.2`), whose code is never run. Each
extractor runs in a process of its own, so that the peak is its own. Cases whose data is not there are left out.
`ms01` is what our extractor was trained on besides painted heads; everything else it never saw. A scan without a
reference is compared with deepbet's mask, in the column of our own extractor. The reference of `ms01` ends where one of
its scans does, and only what lies within counts.
"""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

import numpy as np
import SimpleITK as sitk
import torch
from data_folder import DATA

from ULAERegistrationLib.errors import RegistrationError
from ULAERegistrationLib.evaluation.peak_memory import peak_gb, reset_peak
from ULAERegistrationLib.geometry.cut import cut_sides
from ULAERegistrationLib.network.brain_extraction import extract_brain
from ULAERegistrationLib.training.contrasts import draw_contrast
from ULAERegistrationLib.training.head_data import HELD_OUT, brain_of, ms01_masks


class Case(NamedTuple):
    """A scan, its reference mask (None where there is none), and where that is known (None where it is everywhere)."""

    name: str
    scan: sitk.Image
    reference: sitk.Image | None
    known: sitk.Image | None = None


def cases(data: Path) -> Iterator[Case]:
    """Every case, group by group."""
    heads = data / "heads"
    for path in sorted((heads / "ms01").glob("visit*.nii.gz")):
        scan = sitk.ReadImage(str(path))
        visit, contrast = path.name.removesuffix(".nii.gz").removeprefix("visit").split("_")
        masks = ms01_masks(heads / "ms01", int(visit), contrast, scan)
        yield Case(f"ms01 {visit} {contrast} (trained on)", scan, *masks)
    for path in sorted((heads / "nichart").glob("*_t1.nii.gz")):
        yield Case(f"nichart {path.name[:6]} t1", *nichart(path))
    for head in HELD_OUT:
        path = data / "labelmaps" / f"{head}.nii.gz"
        if path.exists():
            yield from painted(path)
    for person in ("subj02", "subj07"):
        path = heads / "nichart" / f"{person}_t1.nii.gz"
        if path.exists():
            yield from changed(person, *nichart(path))
    for name in ("chris_pd.nii.gz", "contrast-enhanced_t1ce.nrrd", "pumi_t1.nii.gz"):
        if (heads / name).exists():
            yield Case(f"{name.split('.')[0]} (against deepbet)", sitk.ReadImage(str(heads / name)), None)
    for path in sorted((heads / "nichart").glob("*_flair.nii.gz"))[:2]:
        yield Case(f"nichart {path.name[:6]} flair (against deepbet)", sitk.ReadImage(str(path)), None)
    path = data / "raw" / "whole-head" / "chris_t1.nii.gz"
    if path.exists():
        yield Case("chris t1 (against deepbet)", sitk.ReadImage(str(path)), None)


def nichart(path: Path) -> tuple[sitk.Image, sitk.Image]:
    labels = sitk.ReadImage(str(path).replace(".nii.gz", "_labels.nii.gz"))
    return sitk.ReadImage(str(path)), sitk.Cast(labels > 0, sitk.sitkUInt8)


def painted(path: Path) -> Iterator[Case]:
    """A label map as a crude T1 and in a random contrast, 1 mm, with a little noise and blur."""
    label_map = sitk.ReadImage(str(path))
    files = {
        "random": "generation_classes",
        "t1": "generation_classes_contrast_specific",
        "t1_means": "prior_means_t1",
        "t1_stds": "prior_stds_t1",
    }
    classes = {name: np.load(path.parent / f"{file}.npy") for name, file in files.items()}
    labels = np.load(path.parent / "generation_labels.npy")
    rows = np.zeros(int(labels.max()) + 1, np.int64)
    rows[labels] = np.arange(len(labels))
    values = rows[sitk.GetArrayFromImage(label_map).astype(np.int64)]
    random = torch.Generator().manual_seed(int(path.name[5:7]))
    reference = sitk.GetImageFromArray(brain_of(sitk.GetArrayFromImage(label_map)).astype(np.uint8))
    reference.CopyInformation(label_map)
    for contrast in ("t1", "random"):
        means, spreads = draw_contrast(labels, classes, random, contrast)
        noise = np.random.default_rng(0).standard_normal(values.shape, np.float32)
        image = sitk.GetImageFromArray(np.abs(means.numpy()[values] + 0.5 * spreads.numpy()[values] * noise))
        image.CopyInformation(label_map)
        yield Case(f"painted {path.name[:7]} {contrast}", sitk.DiscreteGaussian(image, 0.5), reference)


def changed(person: str, scan: sitk.Image, reference: sitk.Image) -> Iterator[Case]:
    """Cut, turned and stripped versions of one scan, whose axes are the body's."""
    rows = np.flatnonzero(sitk.GetArrayViewFromImage(reference).any((1, 2)))
    low, high = int(rows[0]), int(rows[-1]) + 1
    for percent in (20, 40):
        cut = round(percent / 100 * (high - low))
        yield Case(f"{person} top {percent} % cut", scan[:, :, : high - cut], reference[:, :, : high - cut])
        yield Case(f"{person} bottom {percent} % cut", scan[:, :, low + cut :], reference[:, :, low + cut :])
    for degrees, axis in ((90, 0), (90, 2), (180, 1)):
        images = tuple(turned(image, degrees, axis) for image in (scan, reference))
        yield Case(f"{person} turned by {degrees} about {'LPS'[axis]}", *images)
    yield Case(f"{person} stripped", sitk.Mask(scan, reference), reference)


def turned(image: sitk.Image, degrees: int, axis: int) -> sitk.Image:
    """The image of a person who lay turned about an axis of the body, by its header alone."""
    turn = sitk.Euler3DTransform()
    angles = [0.0, 0.0, 0.0]
    angles[axis] = float(np.radians(degrees))
    turn.SetRotation(*angles)
    matrix = np.rint(np.array(turn.GetMatrix()).reshape(3, 3))
    result = sitk.Image(image)
    result.SetDirection((matrix @ np.array(image.GetDirection()).reshape(3, 3)).ravel().tolist())
    result.SetOrigin((matrix @ np.array(image.GetOrigin())).tolist())
    return result


def slabs(data: Path) -> Iterator[Case]:
    """The middle of the brain of three heads, 20 to 90 mm thick along each axis of the body, without all else."""
    for person in ("subj01", "subj04", "subj05"):
        images = [sitk.DICOMOrient(image, "LPS") for image in nichart(data / f"heads/nichart/{person}_t1.nii.gz")]
        brain = sitk.GetArrayFromImage(images[1]).T > 0
        for axis, thick in product(range(3), (20, 40, 60, 90)):
            planes = np.flatnonzero(brain.any(axis=tuple({0, 1, 2} - {axis})))
            middle, half = (planes[0] + planes[-1]) / 2, thick / images[0].GetSpacing()[axis] / 2
            box = [slice(None)] * 3
            box[axis] = slice(round(middle - half), round(middle + half))
            yield Case(f"{person}, {thick} mm along {'LPS'[axis]}", *(image[tuple(box)] for image in images))


def slab_table(model: str | None, data: Path) -> str:
    """As Markdown; Dice with the labels in each slab, and the sides on which the mask is said to be cut off."""
    lines = ["| slab | Dice | cut off at |", "|---|---|---|"]
    for case in slabs(data):
        mask = extract_brain(case.scan, model)
        found = dice(*(sitk.GetArrayViewFromImage(image) > 0 for image in (mask, case.reference)))
        lines.append(f"| {case.name} | {found:.3f} | {', '.join(cut_sides(mask))} |")
    return "\n".join(lines)


def dice(first: np.ndarray, second: np.ndarray) -> float:
    return float(2 * (first & second).sum() / max(int(first.sum()) + int(second.sum()), 1))


def run(extractor: str, model: str | None, data: Path, masks: Path) -> dict[str, dict]:
    """Every case by one extractor; the masks of cases without a reference are written to, or compared with, `masks`."""
    if extractor == "own":

        def extract(scan: sitk.Image) -> sitk.Image:
            return extract_brain(scan, model)
    else:
        from deepbet_masks import extract_brain_deepbet as extract

    results = {}
    for name, scan, reference, known in cases(data):
        reset_peak()
        began, processor = time.perf_counter(), time.process_time()
        try:
            mask = sitk.GetArrayFromImage(extract(scan)) > 0
        except RegistrationError as error:
            results[name] = {"error": str(error)}
            continue
        row = {"seconds": time.perf_counter() - began, "cpu_seconds": time.process_time() - processor}
        row["peak_gb"] = peak_gb()
        other = masks / f"{name.replace(' ', '_')}.npy"
        if reference is None and extractor == "deepbet":
            np.save(other, mask)
        elif reference is not None or other.exists():
            truth = np.load(other) if reference is None else sitk.GetArrayViewFromImage(reference) > 0
            if known is not None:
                mask = mask & (sitk.GetArrayViewFromImage(known) > 0)
            row |= {"dice": dice(mask, truth), "volume_ratio": float(mask.sum() / truth.sum())}
        results[name] = row
        print(extractor, name, row, file=sys.stderr, flush=True)
    return results


def table(results: dict[str, dict[str, dict]]) -> str:
    """As Markdown; Dice, volume against the reference's, seconds by the clock / of the processor, peak in GB."""
    lines = ["| head | " + " | ".join(f"{name}: Dice, volume, s / CPU s, GB" for name in results) + " |"]
    lines.append("|---" * (1 + len(results)) + "|")
    for case in dict.fromkeys(case for rows in results.values() for case in rows):
        cells = []
        for rows in results.values():
            row = rows.get(case, {})
            score = f"**{row['dice']:.3f}**, {row['volume_ratio']:.2f}" if "dice" in row else row.get("error", "-")
            if "seconds" in row:
                score += f", {row['seconds']:.1f} / {row['cpu_seconds']:.1f}, {row['peak_gb'] or 0:.2f}"
            cells.append(score)
        lines.append(f"| {case} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--extractors", nargs="+", choices=("deepbet", "own"), default=("deepbet", "own"))
    parser.add_argument("--model", help="weights of our own extractor; default: the shipped ones")
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument(
        "--json", type=Path, help="also write the figures here; a next run keeps other extractors' rows"
    )
    parser.add_argument("--slabs", action="store_true", help="of heads instead, by our own extractor")
    parser.add_argument("--masks", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--alone", choices=("deepbet", "own"), help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.alone:
        print(json.dumps(run(options.alone, options.model, options.data, options.masks)))
        return
    if options.slabs:
        print(slab_table(options.model, options.data))
        return
    results = json.loads(options.json.read_text()) if options.json and options.json.exists() else {}
    with TemporaryDirectory() as temporary:
        masks = options.json.parent / "masks" if options.json else Path(temporary)
        masks.mkdir(exist_ok=True)
        for extractor in sorted(options.extractors):
            command = [sys.executable, __file__, "--alone", extractor, "--data", str(options.data)]
            command += ["--masks", str(masks)] + (["--model", options.model] if options.model else [])
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            results[extractor] = json.loads(done.stdout.splitlines()[-1])
    if options.json:
        options.json.write_text(json.dumps(results, indent=1))
    print(table(results))


if __name__ == "__main__":
    main()
