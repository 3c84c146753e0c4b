"""Is a wrong result ever called good? Right pairs, and pairs that are wrong on purpose, registered and judged.

    python Testing/benchmarks/verdicts.py [-o verdicts.csv] [--halves 1 2 3] [--kinds none mirrored ...] [--table]
    python Testing/benchmarks/verdicts.py --alone [--voxel-mm 1 2 5] [--kinds slab "thin slab" ...]

The cases are those of `verdict_cases`. A result is wrong where the points of the fixed brain that both images show are
mapped further than WRONG_MM on average from where the right map takes them: a rotation that the alignment undoes is a
right result. The right map is the registration of the same two people before the damage. Every pair is added to the
file when it is done, with its measures, and pairs that are in the file are not computed again; `--table` judges the
measures of the file anew by the rule of today, and prints the table alone. It says too of how many wrong results there
is a doubt that no preset removes, because it is there before the network runs.

`--alone` looks at the damaged images by themselves, at several voxel sizes: at the doubts about a fixed image, which no
preset and no moving image removes. It takes seconds instead of minutes.
"""

from __future__ import annotations

import argparse
import csv
import dataclasses
import json
from collections import Counter
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from verdict_cases import DAMAGED, LITTLE, PAIRS, Case, cases, damaged_images, mapped, pose, trained_on

from ULAERegistrationLib import Registration, RegistrationError, register
from ULAERegistrationLib.files.volumes import read_volume
from ULAERegistrationLib.geometry.alignment import align
from ULAERegistrationLib.geometry.canonical import sample_on_canonical
from ULAERegistrationLib.geometry.likeness import Likeness, likeness, mean_voxel_mm
from ULAERegistrationLib.quality import DO_NOT_USE, GOOD, LOOK, Quality
from ULAERegistrationLib.scan_brain import cut_doubts, find_scan_brain
from ULAERegistrationLib.settings import RegistrationSettings

WRONG_MM = 4.0
POINTS = 3000
REFUSED = "refused"
VERDICTS = (GOOD, LOOK, DO_NOT_USE, REFUSED)
WHOLE, DAMAGED_BUT_RIGHT, WRONG = GROUPS = ("right, of whole brains", "right, of a damaged one", "wrong")
NOTHING_MISSING = ("none", "rotated", "scaled", "wrong spacing")  # the kinds in which two whole T1 brains are shown
ROLES = ("fixed", "moving")
# What the network and the refinement decide, as of a registration that nothing is wrong with.
FLAWLESS = {
    "ncc_after": 1.0,
    "folded_percent_brain": 0.0,
    "displacement_max_mm": 1.0,
    "missing_percent": 0.0,
    "beyond_percent": 0.0,
}
NUMBERS = [field.name for field in dataclasses.fields(Quality) if field.type in ("int", "float")]


def brain_points(image: sitk.Image) -> np.ndarray:
    """World points of the brain, evenly spread, [n, 3]."""
    voxels = np.argwhere(sitk.GetArrayViewFromImage(image) > 0)[:, ::-1]
    voxels = voxels[:: max(1, len(voxels) // POINTS)].tolist()
    return np.array([image.TransformIndexToPhysicalPoint(voxel) for voxel in voxels])


def shown(image: sitk.Image, points: np.ndarray) -> np.ndarray:
    """Which points lie in the brain that an image shows."""
    brain = sitk.GetArrayViewFromImage(image) > 0
    indices = np.array([image.TransformPhysicalPointToIndex(point.tolist()) for point in points])[:, ::-1]
    inside = ((indices >= 0) & (indices < brain.shape)).all(1)
    inside[inside] = brain[tuple(indices[inside].T)]
    return inside


def error_mm(registration: Registration, case: Case, reference: sitk.Transform | None) -> float:
    """The mean distance from the right map; infinite where no map is right."""
    if case.through is None:
        return float("inf")
    points = brain_points(registration.fixed)
    right = case.through(points if reference is None else mapped(reference, points))
    both = shown(registration.moving, right)
    if both.sum() < LITTLE:
        return float("inf")
    return float(np.linalg.norm(mapped(registration.transform, points[both]) - right[both], axis=1).mean())


def columns_of(quality: Quality) -> dict[str, object]:
    """The measures that a verdict rests on, as columns of the file."""
    columns: dict[str, object] = {name: getattr(quality, name) for name in NUMBERS}
    for role in ROLES:
        found = dataclasses.asdict(getattr(quality, f"{role}_likeness"))
        columns |= {f"{role}_{name}": value for name, value in found.items()}
    return columns | {"steps_left_out": int(quality.steps_left_out), "warnings": json.dumps(quality.warnings)}


def quality_of(row: dict[str, str]) -> Quality:
    """The inverse of `columns_of`."""
    if not all(row.get(name) for name in (*NUMBERS, "steps_left_out")):
        raise SystemExit("The file is of an earlier version and lacks measures; give another one with -o.")
    likenesses = {
        f"{role}_likeness": Likeness(
            **{field.name: float(row[f"{role}_{field.name}"]) for field in dataclasses.fields(Likeness)}
        )
        for role in ROLES
    }
    numbers = {name: float(row[name]) for name in NUMBERS}
    left_out = row["steps_left_out"] != "0"
    return Quality(**numbers, **likenesses, steps_left_out=left_out, warnings=tuple(json.loads(row["warnings"])))


def judged(case: Case, reference: sitk.Transform | None, preset: str) -> tuple[dict[str, object], Registration | None]:
    """Register a case; its row of the file."""
    row: dict[str, object] = {"half": case.half, "kind": case.kind, "name": case.name}
    try:
        # The stored field is coarse to be quick: it does not matter to the measures.
        registration = register(case.fixed, case.moving, preset=preset, field_spacing=4.0)
    except RegistrationError as refusal:
        return row | {"verdict": REFUSED, "reasons": str(refusal), "error_mm": float("inf")}, None
    row |= {"verdict": registration.quality.verdict, "reasons": " ".join(registration.quality.reasons)}
    row["error_mm"] = 0.0 if case.kind == "none" else error_mm(registration, case, reference)
    return row | columns_of(registration.quality), registration


def run(options: argparse.Namespace) -> None:
    done = {row["name"] for row in rows(options.output)}
    for half in options.halves:
        references: dict[int, sitk.Transform] = {}
        for case in cases(half):
            refers = case.kind == "none" and case.pair < DAMAGED[half]
            wanted = case.name not in done and (not options.kinds or case.kind in options.kinds)
            wanted = wanted and case.pair < options.pairs
            if not (refers or wanted):
                continue
            row, registration = judged(case, references.get(case.pair), options.preset)
            if refers and registration is not None:
                # The damaged pairs lie as the brains are stored, without this one's pose.
                references[case.pair] = sitk.CompositeTransform([pose(case.pair).GetInverse(), registration.transform])
            if wanted:
                write(options.output, row)
                print(f"{row['error_mm']:8.2f} mm, {row['verdict']}: {case.kind}: {case.name}", flush=True)


def rows(path: Path) -> list[dict[str, str]]:
    if not path.is_file():
        return []
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def write(path: Path, row: dict[str, object]) -> None:
    """Add a row, which may have columns that those before it lack; these are empty there."""
    before = rows(path)
    columns = list(dict.fromkeys([*(before[0] if before else ()), *row]))
    whole = path.with_name(f"{path.name}.new")  # so that an interruption leaves the rows of hours
    with whole.open("w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, columns, restval="")
        writer.writeheader()
        writer.writerows([*before, row])
    whole.replace(path)


def verdict_of(row: dict[str, str]) -> str:
    """The verdict of today's rule on the measures of a row."""
    return REFUSED if row["verdict"] == REFUSED else quality_of(row).verdict


def table(found: list[dict[str, str]]) -> str:
    lines = ["| half | pairs | " + " | ".join(VERDICTS) + " |", "|---" * (len(VERDICTS) + 2) + "|"]
    for half in sorted({row["half"] for row in found}):
        for group in GROUPS:
            own = [row for row in found if row["half"] == half and group_of(row) == group]
            counts = Counter(map(verdict_of, own))
            lines.append(f"| {half} | {len(own)} {group} | " + " | ".join(str(counts[one]) for one in VERDICTS) + " |")
    lines += [f"{trained_on(pair[:2] for pair in pairs)} (half {half})." for half, pairs in PAIRS.items()]
    wrong = [row for row in found if group_of(row) == WRONG and row["verdict"] != REFUSED]
    sure = [row for row in wrong if dataclasses.replace(quality_of(row), **FLAWLESS).verdict != GOOD]
    return "\n".join([*lines, f"{len(sure)} of {len(wrong)} wrong results have a doubt that no preset removes."])


def group_of(row: dict[str, str]) -> str:
    if float(row["error_mm"]) > WRONG_MM:
        return WRONG
    return WHOLE if row["kind"] in NOTHING_MISSING else DAMAGED_BUT_RIGHT


def doubts_alone(image: sitk.Image | Path) -> tuple[str, ...]:
    """What speaks against a fixed image before anything is registered to it."""
    try:
        scan = read_volume(image, "fixed")
        shown = find_scan_brain(scan, None, "fixed", RegistrationSettings())
    except RegistrationError as refusal:
        return (str(refusal),)
    found = align(scan, scan, "none", shown.shown, shown.shown)
    doubts = shown.doubts + cut_doubts(shown, found.fixed_to_canonical, "fixed") + found.warnings
    like = likeness(sample_on_canonical(scan, found.fixed_to_canonical, shown.shown), mean_voxel_mm(scan))
    measures = dict.fromkeys(NUMBERS, 0.5) | FLAWLESS
    quality = Quality(**measures, warnings=doubts, fixed_likeness=like, moving_likeness=Likeness(1.0, 1.0, 1.0))
    return () if quality.verdict == GOOD else quality.reasons


def look_alone(options: argparse.Namespace) -> None:
    counts: Counter[tuple[str, bool]] = Counter()
    for half in options.halves:
        for voxel_mm in options.voxel_mm:
            for kind, name, image in damaged_images(half, voxel_mm):
                if not options.kinds or kind in options.kinds:
                    doubts = doubts_alone(image)
                    counts[kind, bool(doubts)] += 1
                    print(f"{'doubt' if doubts else 'none':6} {kind}: {name} at {voxel_mm} mm {doubts[:1]}", flush=True)
    for kind in dict.fromkeys(kind for kind, _ in counts):
        print(f"{kind}: of {counts[kind, True] + counts[kind, False]} images {counts[kind, True]} have a doubt")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("verdicts.csv"))
    parser.add_argument("--halves", type=int, nargs="+", default=list(PAIRS), help="default: all three")
    parser.add_argument("--kinds", nargs="+", help="only these kinds; default: all")
    parser.add_argument("--pairs", type=int, default=99, help="only the first so many pairs of people of each half")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--table", action="store_true", help="print the table of what the file holds, compute nothing")
    parser.add_argument("--alone", action="store_true", help="look at the damaged images by themselves")
    parser.add_argument("--voxel-mm", type=int, nargs="+", default=[2], help="of these images; default: 2")
    options = parser.parse_args()
    if options.alone:
        look_alone(options)
        return
    if not options.table:
        run(options)
    print(table(rows(options.output)))


if __name__ == "__main__":
    main()
