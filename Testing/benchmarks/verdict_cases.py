"""Pairs that are right and pairs that are wrong on purpose, made from the brains in `shared/data`.

Each case knows the right map as far as there is one: the registration of the same two people before the damage, carried
through what was done to the moving image.
"""

from __future__ import annotations

import json
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import product
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from data_folder import DATA

from ULAERegistrationLib.network.weights import SHIPPED

sys.path.insert(0, str(Path(__file__).parents[1]))  # of `in_world`; a benchmark is run as a program

from in_world import centre_of, mapped

# Two halves of people: thresholds are chosen on the first, figures are reported on the second. The third part holds
# right pairs alone, chosen when the thresholds stood: most of its people are in neither half. The network was
# trained on nearly all people of all three parts: see `trained_on`.
PAIRS = {
    1: [
        ("nirep-na01", "nirep-na02", 2),
        ("oasis-1101", "ds2748-01", 2),
        ("ds2748-03", "ds2748-04", 2),
        ("nirep-na06", "oasis-1107", 1),
        ("oasis-1110", "ds2748-05", 5),
        ("fcon-icbm00623", "nirep-na09", 2),
        ("jhu-eve", "oasis-1116", 2),
        ("ds2748-06", "mne-sample", 5),
    ],
    2: [
        ("oasis-1125", "oasis-1113", 2),
        ("nirep-na16", "ds2748-20", 2),
        ("ds2748-22", "ds2748-23", 2),
        ("nirep-na10", "oasis-1119", 1),
        ("oasis-1122", "ds2748-24", 5),
        ("fcon-beijing01244", "nirep-na11", 2),
        ("brainchop-c1", "oasis-1128", 2),
        ("ds2748-25", "vxm-test", 5),
    ],
    3: [
        ("nirep-na13", "fcon-beijing00440", 2),
        ("fcon-cambridge00156", "oasis-1104", 2),
        ("oasis-c2fvit-a", "nirep-na14", 2),
        ("ds2748-07", "oasis-clapirn-a", 2),
        ("oasis-pirate-a", "fcon-cambridge00294", 2),
        ("fcon-beijing01018", "ds2748-08", 2),
        ("nirep-na04", "oasis-symnet-a", 2),
        ("oasis-c2fvit-b", "ds2748-26", 2),
        ("ds2748-30", "oasis-pirate-b", 2),
        ("vxm-test", "jhu-eve", 2),
        ("nirep-na13", "oasis-pirate-a", 5),
        ("ds2748-11", "fcon-cambridge00294", 5),
        ("oasis-c2fvit-a", "ds2748-12", 5),
        ("fcon-beijing01018", "nirep-na04", 5),
        ("nirep-na14", "ds2748-09", 1),
        ("oasis-clapirn-b", "fcon-cambridge00156", 1),
        ("ds2748-10", "oasis-1104", 1),
        ("fcon-beijing00440", "oasis-symnet-b", 1),
    ],
}
DAMAGED = {1: 2, 2: 2, 3: 0}  # of each part, the first so many pairs are damaged
LITTLE = 100  # points: where fewer are left in both images, nothing can be right


@dataclass(frozen=True)
class Case:
    """One pair.

    Attributes:
        half: 1 or 2, or 3 for the part that holds right pairs alone.
        kind: of the damage; "none" for the pairs as they are.
        name: of the case, unique.
        pair: index of its people in `PAIRS[half]`.
        fixed, moving: images, or the path of a file that has to be read as it is.
        through: from points of the undamaged moving image to those of the damaged one, [n, 3] LPS mm; None where no map
            is right.
    """

    half: int
    kind: str
    name: str
    pair: int
    fixed: sitk.Image | Path
    moving: sitk.Image | Path
    through: Callable[[np.ndarray], np.ndarray] | None


def trained_on(pairs: Iterable[tuple[str, str]]) -> str:
    """Of how many pairs the shipped network was trained on both people, on one, and on none; a line of a table."""
    runs = json.loads(SHIPPED.with_suffix(".json").read_text(encoding="utf-8"))["runs"]
    training = {person for run in runs for person in run.get("people", [])}
    counts = Counter(sum(person in training for person in pair) for pair in pairs)
    return f"The network was trained on both people of {counts[2]} pairs, on one of {counts[1]}, on none of {counts[0]}"


def brain(person: str, voxel_mm: int) -> sitk.Image:
    image = sitk.ReadImage(str(DATA / "brains" / f"{person}_t1.nii.gz"))
    return image if voxel_mm == 1 else sitk.BinShrink(image, [voxel_mm] * 3)


def cases(half: int) -> Iterator[Case]:
    """All cases of a half; each pair as it is comes before its damage, whose truth comes from it."""
    for index, (fixed, moving, voxel_mm) in enumerate(PAIRS[half]):
        images = brain(fixed, voxel_mm), turned(brain(moving, voxel_mm), pose(index))
        yield Case(half, "none", f"{fixed} <- {moving} at {voxel_mm} mm", index, *images, moved_by(pose(index)))
        if index < DAMAGED[half]:
            yield from damaged(half, index, brain(fixed, voxel_mm), brain(moving, voxel_mm))
            yield from fixed_lacks(half, index, brain(fixed, voxel_mm), brain(moving, voxel_mm))
    if DAMAGED[half]:
        yield from other_contrasts(half)


def damaged(half: int, index: int, fixed: sitk.Image, moving: sitk.Image) -> Iterator[Case]:
    """The kinds of damage to one pair; the four pairs that are damaged have their own strengths."""
    turn = 2 * (half - 1) + index

    def case(kind: str, name: str, through, fixed=fixed, moving=moving) -> Case:
        return Case(half, kind, f"{name}, pair {index + 1} of half {half}", index, fixed, moving, through)

    axis = (0, 1, 2, 0)[turn]
    along = "LPS"[axis]
    yield case("mirrored", f"moving mirrored along {along}", reflection(moving, axis), moving=mirrored(moving, axis))
    for angle, about in (((20, 0), (60, 1)), ((180, 2), (35, 1)), ((90, 2), (30, 2)), ((120, 0), (45, 1)))[turn]:
        rotated = rotation(moving, angle, about)
        name = f"moving turned by {angle} degrees about {'LPS'[about]}"
        yield case("rotated", name, moved_by(rotated), moving=pulled(moving, rotated))
    share, crop = ((35, True), (50, False), (65, True), (85, False))[turn]
    name = f"fixed is a slab of {share} % of the height, {'cropped' if crop else 'emptied'}"
    yield case("slab", name, unmoved, fixed=slab(fixed, share, crop))
    end, share = (("top", 15), ("bottom", 30), ("top", 50), ("bottom", 50))[turn]
    yield case("part missing", f"moving lacks {share} % at the {end}", unmoved, moving=without(moving, end, share))
    name, image = (("noise", noise), ("an ellipsoid", ellipsoid), ("blobs", blobs), ("noise", noise))[turn]
    yield case("no brain", f"moving is {name}", None, moving=image(moving))
    if index == 0:
        side = ("left", "right")[half - 1]
        yield case("hemisphere", f"moving lacks its {side} half", unmoved, moving=without_half(moving, side))
        factors = ((0.6, 0.6, 0.6), (0.7, 0.6, 0.5))[half - 1]
        yield case("scaled", f"moving scaled by {factors}", scaled_by(factors), moving=rescaled(moving, factors))
        return
    factors = ((1, 1, 1.4), (1.2, 1, 1))[half - 1]
    yield case("wrong spacing", f"moving scaled by {factors}", scaled_by(factors), moving=rescaled(moving, factors))
    axes = ((1, 2, 0), (2, 1, 0))[half - 1]
    plain = without_orientation(moving, axes)
    yield case("no orientation", f"moving's axes {axes}", stored_plainly(moving, axes), moving=plain)
    radius = (30, 45)[half - 1]
    yield case("resection", f"moving lacks a ball of {radius} mm", unmoved, moving=resected(moving, radius))
    yield case("inverted", "moving has inverted intensities", unmoved, moving=inverted(moving))


def fixed_lacks(half: int, index: int, fixed: sitk.Image, moving: sitk.Image) -> Iterator[Case]:
    """The moving brain whole, and a part of the fixed one missing."""
    for end, share in ("top", 10), ("top", 15), ("bottom", 15), ("bottom", 30):
        name = f"fixed lacks {share} % at the {end}, pair {index + 1} of half {half}"
        yield Case(half, "part of the fixed missing", name, index, without(fixed, end, share), moving, unmoved)


def damaged_images(half: int, voxel_mm: int) -> Iterator[tuple[str, str, sitk.Image | Path]]:
    """The kind, the name and the image of every damage by itself, and slabs of 20 to 60 mm along each axis."""
    for index, (fixed, moving, _) in enumerate(PAIRS[half][: DAMAGED[half]]):
        whole = brain(fixed, voxel_mm)
        for case in damaged(half, index, whole, brain(moving, voxel_mm)):
            yield case.kind, case.name, case.fixed if case.kind == "slab" else case.moving
        if index == 0:
            for axis, mm, crop in product(range(3), (20, 40, 60), (True, False)):
                name = f"{mm} mm along {'LPS'[axis]}, {'cropped' if crop else 'emptied'}, of half {half}"
                yield "thin slab", name, thin_slab(whole, axis, mm, crop)


def other_contrasts(half: int) -> Iterator[Case]:
    """T1 with T2 and FLAIR of one person, who lies in one frame."""
    person = {1: "ms07", 2: "ms26"}[half]
    for contrast in ("t2", "flair"):
        images = (sitk.ReadImage(str(DATA / "heads" / "cross" / f"{person}_{one}.nii.gz")) for one in ("t1", contrast))
        yield Case(half, "other contrast", f"{person} t1 <- {contrast}", -1, *images, unmoved)


# --- maps of points, [n, 3] LPS mm ---


def unmoved(points: np.ndarray) -> np.ndarray:
    return points


def moved_by(transform: sitk.Transform) -> Callable[[np.ndarray], np.ndarray]:
    return lambda points: mapped(transform, points)


def scaled_by(factors) -> Callable[[np.ndarray], np.ndarray]:
    return lambda points: points * np.array(factors)


def reflection(image: sitk.Image, axis: int) -> Callable[[np.ndarray], np.ndarray]:
    signs = np.where(np.arange(3) == axis, -1.0, 1.0)
    return lambda points: centre_of(image) + signs * (points - centre_of(image))


def pose(index: int) -> sitk.Euler3DTransform:
    """How a patient lies in another scanner: up to 15 degrees and 40 mm off."""
    random = np.random.default_rng(index)
    return sitk.Euler3DTransform(
        (0.0, 0.0, 0.0), *np.radians(random.uniform(-15, 15, 3)), random.uniform(-40, 40, 3).tolist()
    )


def rotation(image: sitk.Image, degrees: float, axis: int) -> sitk.Euler3DTransform:
    angles = np.where(np.arange(3) == axis, np.radians(degrees), 0.0)
    return sitk.Euler3DTransform(centre_of(image).tolist(), *angles.tolist())


# --- damage ---


def turned(image: sitk.Image, turn: sitk.Euler3DTransform) -> sitk.Image:
    """The same voxels in another place: only the header changes."""
    result = sitk.Image(image)
    result.SetOrigin(turn.TransformPoint(image.GetOrigin()))
    result.SetDirection((np.reshape(turn.GetMatrix(), (3, 3)) @ np.reshape(image.GetDirection(), (3, 3))).ravel())
    return result


def pulled(image: sitk.Image, turn: sitk.Euler3DTransform) -> sitk.Image:
    """The brain turned while the header says nothing of it."""
    grid = sitk.ConstantPad(image, [20] * 3, [20] * 3)
    return sitk.Resample(image, grid, turn.GetInverse(), sitk.sitkLinear)


def with_values(image: sitk.Image, values: np.ndarray) -> sitk.Image:
    result = sitk.GetImageFromArray(np.ascontiguousarray(values))
    result.CopyInformation(image)
    return result


def mirrored(image: sitk.Image, axis: int) -> sitk.Image:
    return with_values(image, np.flip(sitk.GetArrayFromImage(image), 2 - axis))


def extent(image: sitk.Image) -> tuple[int, int]:
    """First and last slice, from below, that shows brain."""
    shown = np.flatnonzero((sitk.GetArrayViewFromImage(image) > 0).any((1, 2)))
    return int(shown[0]), int(shown[-1])


def slab(image: sitk.Image, percent: float, crop: bool) -> sitk.Image:
    first, last = extent(image)
    margin = round((last - first) * (100 - percent) / 200)
    if crop:
        return image[:, :, first + margin : last - margin + 1]
    values = sitk.GetArrayFromImage(image)
    values[: first + margin] = 0
    values[last - margin + 1 :] = 0
    return with_values(image, values)


def thin_slab(image: sitk.Image, axis: int, mm: float, crop: bool) -> sitk.Image:
    """The middle of the brain along an axis: the rest cropped away, or emptied."""
    values = sitk.GetArrayFromImage(image)
    shown = np.flatnonzero((values > 0).any(tuple(other for other in range(3) if other != 2 - axis)))
    number = round(mm / image.GetSpacing()[axis])
    first = int(shown[0] + shown[-1] - number) // 2
    inside = [slice(None)] * 3
    inside[axis] = slice(first, first + number)
    if crop:
        return image[tuple(inside)]
    kept = np.zeros_like(values)
    kept[tuple(inside[::-1])] = values[tuple(inside[::-1])]
    return with_values(image, kept)


def without(image: sitk.Image, end: str, percent: float) -> sitk.Image:
    first, last = extent(image)
    cut = round((last - first) * percent / 100)
    values = sitk.GetArrayFromImage(image)
    values[slice(None, first + cut) if end == "bottom" else slice(last - cut + 1, None)] = 0
    return with_values(image, values)


def without_half(image: sitk.Image, side: str) -> sitk.Image:
    values = sitk.GetArrayFromImage(image)
    middle = values.shape[2] // 2
    values[:, :, slice(middle, None) if side == "left" else slice(None, middle)] = 0
    return with_values(image, values)


def noise(image: sitk.Image) -> sitk.Image:
    values = sitk.GetArrayFromImage(image)
    return with_values(
        image, (np.random.default_rng(0).integers(40, 255, values.shape) * (values > 0)).astype(np.uint8)
    )


def blobs(image: sitk.Image) -> sitk.Image:
    values = sitk.GetArrayFromImage(image)
    random = sitk.GetImageFromArray(np.random.default_rng(0).normal(size=values.shape).astype(np.float32))
    smooth = sitk.GetArrayFromImage(sitk.SmoothingRecursiveGaussian(random, 3.0))
    return with_values(image, ((130 + 45 * smooth / smooth.std()).clip(20, 255) * (values > 0)).astype(np.uint8))


def ellipsoid(image: sitk.Image) -> sitk.Image:
    """A phantom of a brain's size: bright inside, grey at its surface, with two dark balls."""
    values = sitk.GetArrayFromImage(image)
    middle = np.argwhere(values > 0).mean(0).reshape(3, 1, 1, 1)
    place = (np.indices(values.shape) - middle) * image.GetSpacing()[0]
    radius = np.sqrt((place**2 / np.array([62, 84, 66]).reshape(3, 1, 1, 1) ** 2).sum(0))
    phantom = np.where(radius < 0.85, 200, np.where(radius < 1, 110, 0))
    for side in (-20, 20):
        phantom[np.sqrt((place[0] - 5) ** 2 + place[1] ** 2 + (place[2] - side) ** 2) < 12] = 40
    return with_values(image, phantom.astype(np.uint8))


def rescaled(image: sitk.Image, factors) -> sitk.Image:
    """The header states another voxel size along each axis."""
    result = sitk.Image(image)
    result.SetSpacing((np.array(image.GetSpacing()) * factors).tolist())
    result.SetOrigin((np.array(image.GetOrigin()) * factors).tolist())
    return result


def without_orientation(image: sitk.Image, axes: tuple[int, int, int]) -> Path:
    """A NIfTI file whose qform and sform codes are both 0; its voxels are stored in another order of the axes."""
    import gzip
    import struct

    plain = sitk.GetImageFromArray(np.ascontiguousarray(sitk.GetArrayFromImage(image).transpose(axes)))
    plain.SetSpacing(image.GetSpacing())
    path = Path(tempfile.mkdtemp()) / "plain.nii.gz"
    sitk.WriteImage(plain, str(path))
    content = bytearray(gzip.decompress(path.read_bytes()))
    content[252:256] = struct.pack("<2h", 0, 0)
    path.write_bytes(gzip.compress(bytes(content)))
    return path


def stored_plainly(image: sitk.Image, axes: tuple[int, int, int]) -> Callable[[np.ndarray], np.ndarray]:
    """ITK takes the stored axes of such a file as L, P, S, from the origin on."""
    order = [2 - axes[2 - coordinate] for coordinate in range(3)]
    return lambda points: (points - np.array(image.GetOrigin()))[:, order]


def resected(image: sitk.Image, radius: float) -> sitk.Image:
    values = sitk.GetArrayFromImage(image)
    middle = np.argwhere(values > 0).mean(0) + np.array([20, 0, 30]) / image.GetSpacing()[0]
    place = (np.indices(values.shape) - middle.reshape(3, 1, 1, 1)) * image.GetSpacing()[0]
    values[(place**2).sum(0) < radius**2] = 0
    return with_values(image, values)


def inverted(image: sitk.Image) -> sitk.Image:
    values = sitk.GetArrayFromImage(image)
    return with_values(image, (np.where(values > 0, 256 - values.astype(int), 0)).clip(0, 255).astype(np.uint8))
