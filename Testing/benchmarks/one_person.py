"""One person's scans of different contrasts and days, registered with a rigid alignment: how far off the result is.

    python Testing/benchmarks/one_person.py [--only ms01] [--preset fast] [--data ../shared/data]

`ms01` comes with the transforms between its six scans (two visits of three contrasts). The scans of each person in
`cross` lie in one frame; the moving one is turned and shifted by its header first, so that the answer is known and is
not the identity. Of `chris` and `nichart` the headers alone say how the scans lie to each other, as the scanner saw
them; who moved between two scans is not known. The error is the distance in mm, mean and 95th percentile over points of
the fixed brain, of the alignment alone and of the whole registration.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import SimpleITK as sitk

from ULAERegistrationLib import register
from ULAERegistrationLib.geometry.affine import to_matrix
from ULAERegistrationLib.geometry.brain import brain_mask
from ULAERegistrationLib.settings import ALIGNMENTS, PRESETS

POINTS = 3000
TURN = (0.15, -0.1, 0.2)  # radians about L, P, S
SHIFT = (12.0, -8.0, 15.0)  # mm


@dataclass(frozen=True)
class Case:
    """Two scans of one person, and where each point of the fixed one lies in the moving one (4 x 4, LPS mm)."""

    name: str
    fixed: sitk.Image
    moving: sitk.Image
    truth: np.ndarray


def cases(data: Path) -> Iterator[Case]:
    heads = data / "heads"
    scans = [(visit, contrast) for visit in (1, 2) for contrast in ("t1w", "t2w", "flair")]
    for first, second in combinations(scans, 2):
        fixed, moving = (sitk.ReadImage(str(heads / "ms01" / f"visit{v}_{c}.nii.gz")) for v, c in (first, second))
        to_common = [ms01_to_common(heads / "ms01", *scan) for scan in (first, second)]
        name = "ms01 {} {} <- {} {}".format(*first, *second)
        yield Case(name, fixed, moving, np.linalg.inv(to_common[1]) @ to_common[0])
    for person in ("ms07", "ms26"):
        for first, second in (("t1", "t1ce"), ("t1", "t2"), ("t1", "flair"), ("t2", "flair")):
            fixed, moving = (sitk.ReadImage(str(heads / "cross" / f"{person}_{c}.nii.gz")) for c in (first, second))
            yield Case(f"cross {person} {first} <- {second}", fixed, *turned(moving))
    paths = (data / "raw" / "whole-head" / "chris_t1.nii.gz", heads / "chris_pd.nii.gz")
    yield Case("chris t1 <- pd", *(sitk.ReadImage(str(path)) for path in paths), np.eye(4))
    for person in ("subj01", "subj05"):
        fixed, moving = (sitk.ReadImage(str(heads / "nichart" / f"{person}_{c}.nii.gz")) for c in ("t1", "flair"))
        yield Case(f"nichart {person} t1 <- flair", fixed, moving, np.eye(4))


def ms01_to_common(folder: Path, visit: int, contrast: str) -> np.ndarray:
    """From a scan of `ms01` to its common space, 4 x 4.

    A file "a_to_b" maps points of b to points of a, as ITK needs to resample image a in space b.
    """
    names = ["FLAIR_to_common_space"]
    if contrast != "flair":
        names.append(f"{contrast[:2].upper()}W_intrastudy_to_FLAIR")
    matrix = np.eye(4)
    for name in names:
        matrix = matrix @ np.linalg.inv(to_matrix(sitk.ReadTransform(str(folder / f"study{visit}_{name}.txt"))))
    return matrix


def turned(scan: sitk.Image) -> tuple[sitk.Image, np.ndarray]:
    """The scan turned and shifted by its header, and the map by which its points moved."""
    middle = scan.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in scan.GetSize()])
    matrix = to_matrix(sitk.Euler3DTransform(middle, *TURN, SHIFT))
    result = sitk.Image(scan)
    result.SetDirection((matrix[:3, :3] @ np.reshape(scan.GetDirection(), (3, 3))).ravel().tolist())
    result.SetOrigin((matrix[:3, :3] @ scan.GetOrigin() + matrix[:3, 3]).tolist())
    return result, matrix


def errors(transform: sitk.Transform, truth: np.ndarray, points: np.ndarray) -> str:
    found = np.array([transform.TransformPoint(point) for point in points.tolist()])
    distances = np.linalg.norm(found - (points @ truth[:3, :3].T + truth[:3, 3]), axis=1)
    return f"{distances.mean():.2f}, {np.percentile(distances, 95):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="part of the name of the pairs to run")
    parser.add_argument("--preset", choices=PRESETS, default="fast")
    parser.add_argument("--alignment", choices=ALIGNMENTS, default="rigid")
    parser.add_argument("--data", type=Path, default=Path("../shared/data"))
    options = parser.parse_args()
    print("| fixed <- moving | taken as | alignment: mean, 95 % | registered: mean, 95 % | verdict |\n|" + "---|" * 5)
    for case in cases(options.data):
        if options.only not in case.name:
            continue
        found = register(case.fixed, case.moving, preset=options.preset, alignment=options.alignment)
        brain = brain_mask(found.fixed) if found.fixed_mask is None else found.fixed_mask
        indices = np.argwhere(sitk.GetArrayViewFromImage(brain) > 0)[:, ::-1]
        chosen = indices[np.random.default_rng(0).choice(len(indices), POINTS, replace=False)].tolist()
        points = np.array([brain.TransformIndexToPhysicalPoint(index) for index in chosen])
        cells = " | ".join(
            errors(transform, case.truth, points) for transform in (found.alignment.fixed_to_moving, found.transform)
        )
        print(f"| {case.name} | {found.settings.contrast} | {cells} | {found.quality.verdict} |", flush=True)


if __name__ == "__main__":
    main()
