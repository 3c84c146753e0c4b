"""How much does the result suffer where the moving image is turned, of another size, coarse, noisy, brighter or cut?

    python Testing/benchmarks/robustness.py [-o robustness.csv] [--preset fast] [--pairs 2] [--minutes 4]
    python Testing/benchmarks/robustness.py --table

Both ordered pairs of the two validation people of each source, the whole way of `register()` from the stripped scans,
with the moving image changed as `perturbations` says. The original labels follow the change. Dice is the mean over
the cortical labels; "mm" is how far the points of the fixed brain that both images show end from where the pair as it
is takes them, once the change is taken back. One image against itself has a known answer, and "mm" is the error. The
unchanged pair in both directions gives the inverse consistency: how far points return from where they went.

Every registration is added to the file when it is done, and what is in the file is not computed again, so that a run
may be stopped (`--minutes`) and go on later; `--table` prints the table of the file alone.
"""

from __future__ import annotations

import argparse
import time
from collections import Counter
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from data_folder import DATA
from perturbations import AS_IT_IS, OF_ITSELF, PERTURBATIONS, Perturbation, labels_through
from verdict_cases import brain, mapped
from verdicts import brain_points, rows, shown, write

from ULAERegistrationLib import register
from ULAERegistrationLib.dataset.regions import mean_dice
from ULAERegistrationLib.dataset.sources import source_of
from ULAERegistrationLib.memory import keep_freed_memory
from ULAERegistrationLib.quality import GOOD
from ULAERegistrationLib.settings import PRESETS

THERE_AND_BACK = "there and back"
# The first two are one of each source.
PAIRS = [
    ("nirep-na04", "nirep-na16"),
    ("oasis-1113", "oasis-1125"),
    ("nirep-na16", "nirep-na04"),
    ("oasis-1125", "oasis-1113"),
]
THEMSELVES = ("nirep-na04", "oasis-1113")
SOURCES = ("nirep", "oasis")
# What was found for unchanged pairs in this process: fixed, moving and preset to the transform.
unchanged: dict[tuple[str, str, str], sitk.Transform] = {}


@cache
def labels_of(person: str) -> sitk.Image:
    return sitk.ReadImage(str(DATA / "brains" / f"{person}_seg.nii.gz"))


def right_transform(fixed: str, moving: str, preset: str) -> sitk.Transform:
    """What the registration of an unchanged pair finds; one image is itself without any."""
    key = (fixed, moving, preset)
    if key not in unchanged:
        found = None if fixed == moving else register(brain(fixed, 1), brain(moving, 1), preset=preset)
        unchanged[key] = sitk.Transform() if found is None else found.transform
    return unchanged[key]


def right_places(fixed: str, moving: str, preset: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """Points of the fixed brain, and where they belong in the moving image before its change; both [n, 3], LPS mm.

    They are kept in a file, so that a run that goes on does not register the unchanged pair anew.
    """
    points, file = brain_points(brain(fixed, 1)), folder / f"robustness-{preset}-{fixed}-{moving}.npy"
    if not file.is_file():
        np.save(file, mapped(right_transform(fixed, moving, preset), points))
    return points, np.load(file)


def row_of(perturbation: Perturbation, fixed: str, moving: str, preset: str, folder: Path) -> dict[str, object]:
    """Register a pair with a changed moving image; its row of the file."""
    began = time.process_time()
    image = brain(moving, 1)
    changed, move = perturbation.image(image), perturbation.move(image)
    found = register(brain(fixed, 1), changed, preset=preset)
    seconds = time.process_time() - began
    if perturbation is AS_IT_IS and fixed != moving:
        unchanged[fixed, moving, preset] = found.transform
    points, right = right_places(fixed, moving, preset, folder)
    right = mapped(move, right)
    both = shown(found.moving, right)
    distances = np.linalg.norm(mapped(found.transform, points[both]) - right[both], axis=1)
    ours = sitk.GetArrayFromImage(labels_of(fixed))
    aligned, registered = (
        mean_dice(
            sitk.GetArrayFromImage(labels_through(labels_of(moving), found.fixed, transform, move)),
            ours,
            source_of(fixed),
        )
        for transform in (found.alignment.fixed_to_moving, found.transform)
    )
    return {
        "preset": preset,
        "perturbation": perturbation.name,
        "fixed": fixed,
        "moving": moving,
        "aligned_dice": aligned,
        "dice": registered,
        "mean_mm": distances.mean(),
        "p99_mm": np.percentile(distances, 99),
        "folded_percent": found.quality.folded_percent,
        "verdict": found.quality.verdict,
        "reasons": " ".join(found.quality.reasons),
        "cpu_s": seconds,
    }


def there_and_back(fixed: str, moving: str, preset: str) -> dict[str, object]:
    """How far points of the fixed brain return from where the pair and the exchanged pair take them; a row."""
    there, back = right_transform(fixed, moving, preset), right_transform(moving, fixed, preset)
    points = brain_points(brain(fixed, 1))
    distances = np.linalg.norm(mapped(back, mapped(there, points)) - points, axis=1)
    row = {"preset": preset, "perturbation": THERE_AND_BACK, "fixed": fixed, "moving": moving}
    return row | {"mean_mm": distances.mean(), "p99_mm": np.percentile(distances, 99)}


def wanted(only: list[str] | None, pairs: int) -> Iterator[tuple[Perturbation | None, str, str]]:
    """The runs: a perturbation, or None for there and back, and a pair; all pairs of one before the next one."""
    runs: list[tuple[Perturbation | None, str, str]] = []
    for one in (AS_IT_IS, None, *PERTURBATIONS[1:]):
        runs += [(one, *pair) for pair in PAIRS[:pairs]]
        if one in OF_ITSELF:
            runs += [(one, person, person) for person in THEMSELVES]
    for run in runs:
        if not only or name_of(run[0]) in only:
            yield run


def name_of(perturbation: Perturbation | None) -> str:
    return perturbation.name if perturbation else THERE_AND_BACK


def run(options: argparse.Namespace) -> None:
    done = {key_of(row) for row in rows(options.output)}
    ends = time.monotonic() + 60 * options.minutes
    for perturbation, fixed, moving in wanted(options.only, options.pairs):
        name = name_of(perturbation)
        if (options.preset, name, fixed, moving) in done:
            continue
        if time.monotonic() > ends:
            print("Out of time: the same command goes on from here.")
            return
        if perturbation is None:
            row = there_and_back(fixed, moving, options.preset)
        else:
            row = row_of(perturbation, fixed, moving, options.preset, options.output.parent)
        write(options.output, row)
        values = ", ".join(f"{k} {row[k]:.4f}" for k in ("aligned_dice", "dice", "mean_mm", "p99_mm") if k in row)
        print(f"{fixed} <- {moving}, {name}: {values}, {row.get('verdict', '')}", flush=True)


def key_of(row: dict[str, str]) -> tuple[str, ...]:
    return tuple(row[name] for name in ("preset", "perturbation", "fixed", "moving"))


def table(found: list[dict[str, str]], preset: str) -> str:
    """Three tables in Markdown: changed moving images, one image against itself, there and back."""
    found = [row for row in found if row["preset"] == preset]
    names = list(dict.fromkeys(row["perturbation"] for row in found))
    pairs = [row for row in found if row["fixed"] != row["moving"] and row["perturbation"] != THERE_AND_BACK]
    lines = [
        "| moving image | Dice NIREP: aligned, registered | Dice OASIS: aligned, registered | mm | folded, % | good |"
    ]
    lines.append("|---" * 6 + "|")
    for name in names:
        own = [row for row in pairs if row["perturbation"] == name]
        if own:
            of_source = [[row for row in own if source_of(row["fixed"]) == source] for source in SOURCES]
            scores = " | ".join(f"{mean(part, 'aligned_dice'):.3f}, {mean(part, 'dice'):.3f}" for part in of_source)
            good = Counter(row["verdict"] for row in own)[GOOD]
            lines.append(
                f"| {name} | {scores} | {mean(own, 'mean_mm'):.2f} | {mean(own, 'folded_percent'):.3f} "
                f"| {good} of {len(own)} |"
            )
    lines += ["", "| one image against itself | mean error, mm | 99 %, mm |", "|---|---|---|"]
    lines += two_columns([row for row in found if row["fixed"] == row["moving"]], names)
    lines += ["", "| fixed and moving exchanged | mean, mm | 99 %, mm |", "|---|---|---|"]
    return "\n".join(lines + two_columns([row for row in found if row["perturbation"] == THERE_AND_BACK], names))


def two_columns(found: list[dict[str, str]], names: list[str]) -> list[str]:
    lines = []
    for name in names:
        own = [row for row in found if row["perturbation"] == name]
        if own:
            lines.append(f"| {name} | {mean(own, 'mean_mm'):.3f} | {mean(own, 'p99_mm'):.3f} |")
    return lines


def mean(found: list[dict[str, str]], column: str) -> float:
    return float(np.mean([float(row[column]) for row in found])) if found else float("nan")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("robustness.csv"))
    parser.add_argument("--preset", choices=PRESETS, default="fast")
    parser.add_argument("--only", nargs="+", help="only these perturbations, as the table names them; default: all")
    parser.add_argument("--pairs", type=int, default=len(PAIRS), help="only the first so many pairs; default: all")
    parser.add_argument("--minutes", type=float, default=float("inf"), help="begin nothing after this time")
    parser.add_argument("--table", action="store_true")
    options = parser.parse_args()
    keep_freed_memory()
    if not options.table:
        run(options)
    print(table(rows(options.output), options.preset))


if __name__ == "__main__":
    main()
