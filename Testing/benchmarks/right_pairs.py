"""How often is a right result called less than good? 150 pairs of whole T1 brains are registered and judged.

    python Testing/benchmarks/right_pairs.py [-o right_pairs.csv] [--number 150] [--preset fast] [--seconds 230]
    python Testing/benchmarks/right_pairs.py --before [-o before.csv]
    python Testing/benchmarks/right_pairs.py --table

The pairs are drawn at random with a fixed seed: both sources of a pair alike often, then one person of each. Of every
second pair the moving image lies as another scanner would store it, up to 15 degrees and 40 mm off. Four of five are at
2 mm, one at 1 mm. The way is that of `register()`; what the verdict does not look at (the stored field, the warped
volume) is left out, and what belongs to one brain alone (its mask, its place in the template) is computed once.

Every pair is added to the file when it is done, and is not computed again; `--seconds` ends the run after the pair in
which these have passed. `--table` judges the measures of the file by the rule of today. `--before` leaves the network
out, and judges what is known without it.
"""

from __future__ import annotations

import argparse
import random
import time
from collections import Counter
from pathlib import Path
from unittest import mock

import numpy as np
import SimpleITK as sitk
import torch
from data_folder import DATA
from torch import Tensor
from verdict_cases import brain, pose, trained_on, turned
from verdicts import FLAWLESS, NUMBERS, columns_of, quality_of, rows, write

from ULAERegistrationLib import canonical_flows, registration, scan_brain
from ULAERegistrationLib.canonical_flows import CanonicalFlows
from ULAERegistrationLib.flows.similarity import LocalNCC
from ULAERegistrationLib.geometry.brain_search import SearchedBrain
from ULAERegistrationLib.memory import keep_freed_memory
from ULAERegistrationLib.quality import GOOD, LOOK, Quality
from ULAERegistrationLib.quality_measures import NCC_WINDOW
from ULAERegistrationLib.scan_brain import ScanBrain

SEED = 20


def source(person: str) -> str:
    """Where a brain comes from; single subjects are one source, and so are OASIS brains by their way of processing."""
    for name in ("nirep", "oasis-1", "oasis", "fcon", "ds2748"):
        if person.startswith(name):
            return name
    return "single"


def drawn(number: int) -> list[tuple[str, str, int, int | None]]:
    """The pairs: fixed person, moving person, voxel in mm, and which pose the moving image has."""
    people: dict[str, list[str]] = {}
    for path in sorted((DATA / "brains").glob("*_t1.nii.gz")):
        person = path.name.removesuffix("_t1.nii.gz")
        people.setdefault(source(person), []).append(person)
    generator = random.Random(SEED)
    pairs: list[tuple[str, str, int, int | None]] = []
    while len(pairs) < number:
        fixed, moving = (generator.choice(people[generator.choice(list(people))]) for _ in range(2))
        if fixed != moving and (fixed, moving) not in {pair[:2] for pair in pairs}:
            count = len(pairs)
            pairs.append((fixed, moving, 1 if count % 5 == 4 else 2, count if count % 2 else None))
    return pairs


def once_per_brain():
    """Patches that compute once what a brain has alone, and leave out what the verdict does not look at."""
    brain_of = scan_brain.find_scan_brain
    shown: dict[str, ScanBrain] = {}

    def known_brain(scan, given, role, settings):
        # Its mask and whether it is cut belong to its voxels; where they lie is another matter.
        key = str(hash(sitk.GetArrayViewFromImage(scan).tobytes())) + role
        if key not in shown:
            shown[key] = brain_of(scan, given, role, settings)
        found = shown[key]
        for mask in {id(one): one for one in (found.mask, found.foreground) if one is not None}.values():
            mask.CopyInformation(scan)
        return found

    def known_place(located_in):
        places: dict[bytes, tuple[np.ndarray, float]] = {}

        def located(scan, template, *start):
            key = sitk.GetArrayViewFromImage(scan.image).tobytes()
            if key not in places:
                found = located_in(scan, template, *start)
                place, correlation = found if start else (found, 0.0)
                places[key] = place @ scan.to_world, correlation
            place, correlation = places[key]
            place = place @ np.linalg.inv(scan.to_world)
            return (place, correlation) if start else place

        return located

    return (
        mock.patch.object(scan_brain, "find_scan_brain", known_brain),
        mock.patch.object(SearchedBrain, "located_in", known_place(SearchedBrain.located_in)),
        mock.patch.object(SearchedBrain, "finely_located_in", known_place(SearchedBrain.finely_located_in)),
        mock.patch.object(registration, "total_transform", lambda flow, alignment: alignment.fixed_to_moving),
        mock.patch.object(registration, "warp_through_flow", lambda moving, fixed, flow, alignment: moving),
    )


def no_flows(*, fixed: Tensor, **_) -> CanonicalFlows:
    """What the network would find if nothing moved."""
    still = torch.zeros(1, 3, *fixed.shape[2:])
    return CanonicalFlows([still] * 3, still, (), "none", "none")


def known_before(fixed, moving, flow, brain, alignment, *, likenesses, warnings, **_) -> Quality:
    """The measures that need no flow; the others as of a registration that nothing is wrong with."""
    ncc = LocalNCC(torch.from_numpy(fixed)[None, None], NCC_WINDOW).map(torch.from_numpy(moving)[None, None])
    still = dict.fromkeys(NUMBERS, 0) | FLAWLESS | {"ncc_before": ncc[0, 0][torch.from_numpy(brain)].mean().item()}
    return Quality(**still, fixed_likeness=likenesses[0], moving_likeness=likenesses[1], warnings=warnings)


def run(options: argparse.Namespace) -> None:
    keep_freed_memory()
    done = {row["name"] for row in rows(options.output)}
    for patch in once_per_brain():
        patch.start()
    if options.before:
        mock.patch.object(canonical_flows, "canonical_flows", no_flows).start()
        mock.patch.object(registration, "measure", known_before).start()
    began = time.monotonic()
    for fixed, moving, voxel_mm, placed in drawn(options.number):
        name = f"{fixed} <- {moving} at {voxel_mm} mm{'' if placed is None else ', moved'}"
        if name in done:
            continue
        image = brain(moving, voxel_mm)
        if placed is not None:
            image = turned(image, pose(placed))
        cpu = time.process_time()
        found = registration.register(brain(fixed, voxel_mm), image, preset=options.preset)
        row = {"name": name, "verdict": found.quality.verdict, "reasons": " ".join(found.quality.reasons)}
        write(options.output, row | {"cpu_s": round(time.process_time() - cpu, 1)} | columns_of(found.quality))
        print(f"{row['verdict']}: {name}, {time.process_time() - cpu:.0f} s", flush=True)
        if time.monotonic() - began > options.seconds:
            break


def table(path: Path) -> str:
    judged = {row["name"]: quality_of(row) for row in rows(path)}
    verdicts = Counter(quality.verdict for quality in judged.values())
    people = [(fixed, moving) for fixed, _, moving in (name.split(" at ")[0].partition(" <- ") for name in judged)]
    lines = [f"{verdicts[GOOD]} of {len(judged)} right pairs are good, {verdicts[LOOK]} are to be looked at."]
    lines.append(f"{trained_on(people)} ({len({one for pair in people for one in pair})} people in all).")
    for name, quality in judged.items():
        if quality.verdict != GOOD:
            lines.append(f"{name}: {quality.verdict}: {' '.join(quality.reasons)}")
    return "\n".join(lines)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("-o", "--output", type=Path, default=Path("right_pairs.csv"))
    parser.add_argument("--number", type=int, default=150, help="of pairs; default: 150")
    parser.add_argument("--preset", default="fast")
    parser.add_argument("--seconds", type=float, default=float("inf"), help="end after the pair in which these passed")
    parser.add_argument("--before", action="store_true", help="without the network")
    parser.add_argument("--table", action="store_true", help="print the table of what the file holds, compute nothing")
    options = parser.parse_args()
    if not options.table:
        run(options)
    print(table(options.output))


if __name__ == "__main__":
    main()
