"""One person's scans of different contrasts and days, registered as they come: how far off the result is.

    python Testing/benchmarks/one_person.py [--only ms01] [--preset fast] [--alignment auto] [--data FOLDER]

`ms01` comes with the transforms between its six scans (two visits of three contrasts). The scans of each person in
`cross` lie in one frame; the moving one is turned and shifted by its header first, so that the answer is known and is
not the identity. Of `chris` and `nichart` the headers alone say how the scans lie to each other, as the scanner saw
them; who moved between two scans is not known. Three of the pairs are registered once more with the fixed scan warped
smoothly, as if the brain had changed in shape since. "Pushed" are raw T1 scans, turned, with noise, and some of them
pushed aside in one place, as by a growing lesion. The error is the distance in mm, mean and 95th percentile over
points of the fixed brain, of the alignment alone and of the whole registration. "Closeness left" is that of the two
scans after the flows, as a fraction of that before them (see `has_changed_shape`); `--alignment affine` keeps the flows
of every pair. "Largest part" is by how much a cube of the brain differs at most, as a multiple of the whole brain (see
`differ_in_one_part`).
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from data_folder import DATA

from ULAERegistrationLib import Registration, register
from ULAERegistrationLib.flows.self_similarity import largest_distance_of_a_part
from ULAERegistrationLib.flows.warp import warp
from ULAERegistrationLib.geometry.affine import to_matrix, to_transform, voxel_centres
from ULAERegistrationLib.geometry.brain import brain_mask
from ULAERegistrationLib.geometry.canonical import template_values
from ULAERegistrationLib.geometry.resampling import resample
from ULAERegistrationLib.one_person import PART, closeness
from ULAERegistrationLib.settings import ALIGNMENTS, PRESETS
from ULAERegistrationLib.tensors import array_of, tensor_of

POINTS = 3000
TURN = (0.15, -0.1, 0.2)  # radians about L, P, S
SHIFT = (12.0, -8.0, 15.0)  # mm
WARPS = (2.5, 5.0)  # mm, standard deviation of the coefficients of the smooth warps
# Scan, mm of the push, its sigma in mm, noise as a share of white matter.
PUSHES = (
    *(("oasis/1113", 0, 15, noise) for noise in (0.0, 0.03, 0.08)),
    *((scan, 0, 15, 0.03) for scan in ("nirep/na04", "fcon/beijing01018")),
    *(("oasis/1113", *push, 0.03) for push in ((3, 15), (5, 15), (8, 15), (8, 8))),
    ("oasis/1113", 8, 15, 0.1),
    ("nirep/na04", 8, 12, 0.03),
    ("fcon/beijing01018", 0, 15, 0.15),
)
CHANGED = ("ms01 1 t1w <- 2 t1w", "cross ms07 t1 <- t1ce", "cross ms07 t1 <- t2")


@dataclass(frozen=True)
class Case:
    """Two scans of one person, and the true map from the fixed world to the moving world (LPS mm)."""

    name: str
    fixed: sitk.Image
    moving: sitk.Image
    truth: sitk.Transform


def cases(data: Path) -> Iterator[Case]:
    heads = data / "heads"
    scans = [(visit, contrast) for visit in (1, 2) for contrast in ("t1w", "t2w", "flair")]
    for first, second in combinations(scans, 2):
        fixed, moving = (sitk.ReadImage(str(heads / "ms01" / f"visit{v}_{c}.nii.gz")) for v, c in (first, second))
        to_common = [ms01_to_common(heads / "ms01", *scan) for scan in (first, second)]
        name = "ms01 {} {} <- {} {}".format(*first, *second)
        yield Case(name, fixed, moving, to_transform(np.linalg.inv(to_common[1]) @ to_common[0]))
    for person in ("ms07", "ms26"):
        for first, second in (("t1", "t1ce"), ("t1", "t2"), ("t1", "flair"), ("t2", "flair")):
            fixed, moving = (sitk.ReadImage(str(heads / "cross" / f"{person}_{c}.nii.gz")) for c in (first, second))
            yield Case(f"cross {person} {first} <- {second}", fixed, *turned(moving))
    paths = (data / "raw" / "whole-head" / "chris_t1.nii.gz", heads / "chris_pd.nii.gz")
    yield Case("chris t1 <- pd", *(sitk.ReadImage(str(path)) for path in paths), sitk.AffineTransform(3))
    for person in ("subj01", "subj05"):
        fixed, moving = (sitk.ReadImage(str(heads / "nichart" / f"{person}_{c}.nii.gz")) for c in ("t1", "flair"))
        yield Case(f"nichart {person} t1 <- flair", fixed, moving, sitk.AffineTransform(3))


def changed_in_shape(case: Case) -> Iterator[Case]:
    """The same scans, the fixed one warped as if the brain had changed in shape since."""
    for spread in WARPS:
        shape = smooth_warp(case.fixed, spread)
        warped = resample(case.fixed, case.fixed, shape)
        name = f"{case.name}, changed ({spread})"
        yield Case(name, warped, case.moving, sitk.CompositeTransform([case.truth, shape]))


def pushed(data: Path) -> Iterator[Case]:
    """A scan as the moving one; as the fixed one the same turned, pushed aside in one place, and with other noise."""
    for scan, most, sigma, noise in PUSHES:
        moving = sitk.ReadImage(str(data / "raw" / f"{scan}_t1.nii.gz"), sitk.sitkFloat32)
        brain = brain_mask(moving)
        middle = voxel_centres(brain)[sitk.GetArrayViewFromImage(brain) > 0].mean(0)
        distance = np.linalg.norm(voxel_centres(moving) - middle - np.array([30.0, 0.0, 10.0]), axis=-1)
        vectors = np.zeros((*distance.shape, 3))
        vectors[..., 0] = most * np.exp(-(distance**2) / (2 * sigma**2))
        field = sitk.GetImageFromArray(vectors, isVector=True)
        field.CopyInformation(moving)
        tilt = sitk.Euler3DTransform(middle.tolist(), 0.05, -0.04, 0.06, (3.0, -4.0, 2.0))
        truth = sitk.CompositeTransform([sitk.DisplacementFieldTransform(field), tilt])
        values = sitk.GetArrayFromImage(sitk.Resample(moving, truth))
        white = np.percentile(values[values > 0], 90)
        noisy = values + np.random.default_rng(0).normal(0, noise * white, values.shape)
        fixed = sitk.GetImageFromArray(np.where(values > 0, noisy.clip(1), 0).astype(np.float32))
        fixed.CopyInformation(moving)
        yield Case(f"pushed {scan} by {most} ({sigma}), noise {noise:.0%}", fixed, moving, truth)


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


def smooth_warp(image: sitk.Image, spread: float) -> sitk.Transform:
    """A B-spline of control points 32 mm apart, whose coefficients have a standard deviation of `spread` mm."""
    mesh = [round(size * step / 32) for size, step in zip(image.GetSize(), image.GetSpacing(), strict=True)]
    field = sitk.BSplineTransformInitializer(image, mesh, order=3)
    field.SetParameters(np.random.default_rng(3).normal(0, spread, len(field.GetParameters())).tolist())
    return field


def points_of(brain: sitk.Image) -> np.ndarray:
    indices = np.argwhere(sitk.GetArrayViewFromImage(brain) > 0)[:, ::-1]
    chosen = indices[np.random.default_rng(0).choice(len(indices), POINTS, replace=False)].tolist()
    return np.array([brain.TransformIndexToPhysicalPoint(index) for index in chosen])


def turned(scan: sitk.Image) -> tuple[sitk.Image, sitk.Transform]:
    """The scan turned and shifted by its header, and the map by which its points moved."""
    middle = scan.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in scan.GetSize()])
    matrix = to_matrix(sitk.Euler3DTransform(middle, *TURN, SHIFT))
    result = sitk.Image(scan)
    result.SetDirection((matrix[:3, :3] @ np.reshape(scan.GetDirection(), (3, 3))).ravel().tolist())
    result.SetOrigin((matrix[:3, :3] @ scan.GetOrigin() + matrix[:3, 3]).tolist())
    return result, to_transform(matrix)


def errors(transform: sitk.Transform, truth: sitk.Transform, points: np.ndarray) -> str:
    found, true = (np.array([one.TransformPoint(p) for p in points.tolist()]) for one in (transform, truth))
    distances = np.linalg.norm(found - true, axis=1)
    return f"{distances.mean():.2f}, {np.percentile(distances, 95):.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", default="", help="part of the name of the pairs to run")
    parser.add_argument("--preset", choices=PRESETS, default="fast")
    parser.add_argument("--alignment", choices=ALIGNMENTS, default="auto")
    parser.add_argument("--data", type=Path, default=DATA)
    options = parser.parse_args()
    print(
        "| fixed <- moving | taken as | alignment: mean, 95 % | registered: mean, 95 % | closeness left | "
        "largest part | verdict |"
    )
    print("|" + "---|" * 7)
    unchanged = list(cases(options.data))
    changed = [other for case in unchanged if case.name in CHANGED for other in changed_in_shape(case)]
    for case in [*unchanged, *changed, *pushed(options.data)]:
        if options.only not in case.name:
            continue
        found = register(case.fixed, case.moving, preset=options.preset, alignment=options.alignment)
        brain = brain_mask(found.fixed) if found.fixed_mask is None else found.fixed_mask
        points = points_of(brain)
        cells = " | ".join(
            errors(transform, case.truth, points) for transform in (found.alignment.fixed_to_moving, found.transform)
        )
        taken = f"{found.settings.contrast}, {found.alignment.method}{' alone' * found.quality.rigid_alone}"
        found_left, part = left(found), largest_part(found)
        print(
            f"| {case.name} | {taken} | {cells} | {found_left:.2f} | {part:.1f} | {found.quality.verdict} |", flush=True
        )


def left(found: Registration) -> float:
    fixed, moving = found.fixed_canonical, found.moving_canonical
    warped = array_of(warp(tensor_of(moving)[None, None], tensor_of(found.flow)[None])[0, 0])
    return closeness(fixed, warped) / closeness(fixed, moving)


def largest_part(found: Registration) -> float:
    scans = (found.fixed_canonical, found.moving_canonical, template_values())
    first, second, average = (tensor_of(np.ascontiguousarray(scan))[None, None] for scan in scans)
    return largest_distance_of_a_part(first, second, [average], PART)


if __name__ == "__main__":
    main()
