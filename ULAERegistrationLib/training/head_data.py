"""The heads that brain extraction is learned from: one packed file, read with numpy and torch alone.

`python -m ULAERegistrationLib.training.head_data DATA FILE` packs; only this needs SimpleITK.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ..tensors import tensor_of
from .heads import GRID, Head

HELD_OUT = ("head_19", "head_20")  # label maps for validation, never trained on
REACH = 5  # mm, radius of the closing over sulci, and of the dilation into the fluid around the brain
SHRINKAGE = 0.04  # by which a strongly atrophied brain is smaller along each axis: about 7 mm at the front
MS01_KNOWN = slice(7, 47)  # axial slices of the common space of `ms01`, of 53, in which its brain mask is known
MEASURED = ("nichart/subj01_t1", "nichart/subj05_t1", "nichart/subj08_t1")  # real heads for validation


def pack(data: Path, file: Path) -> dict[str, int]:
    """Write label maps, real training scans, and the validation heads on the network's grid into one `.npz`.

    Args:
        data: the folder with `labelmaps` and, where available, `heads/ms01`, `heads/cross` and `heads/nichart`.
        file: the packed file.

    Returns:
        The number of label maps ("head"), real training scans ("scan") and real validation heads ("measured").
    """
    import SimpleITK as sitk

    from ..network.brain_extraction import centre_of_mass, network_view

    data = Path(data)
    arrays: dict[str, np.ndarray] = {}
    names: tuple[str, ...] = ("generation_labels", "generation_classes", "generation_classes_contrast_specific")
    names += ("prior_means_t1", "prior_stds_t1")
    for name in names:
        arrays[name] = np.load(data / "labelmaps" / f"{name}.npy")
    for path in sorted((data / "labelmaps").glob("head_*.nii.gz")):
        name = path.name.removesuffix(".nii.gz")
        head = sitk.ReadImage(str(path))
        for kind, change in AGES.items():
            if not kind or name not in HELD_OUT:
                for part, values in pack_labels(head, arrays["generation_labels"], change).items():
                    arrays[f"{name}{kind}/{part}"] = values
    for name, scan, mask in _real_scans(data / "heads"):
        for part, values in pack_scan(scan, mask).items():
            arrays[f"{name}/{part}"] = values
    for name in MEASURED:
        path = data / "heads" / f"{name}.nii.gz"
        if path.exists():
            mask = sitk.Cast(sitk.ReadImage(str(path).replace(".nii.gz", "_labels.nii.gz")) > 0, sitk.sitkFloat32)
            view = network_view(sitk.ReadImage(str(path)), centre_of_mass(mask))
            arrays[f"measured/{path.name}/view"] = _array(view).astype(np.float32)
            arrays[f"measured/{path.name}/brain"] = _array(sitk.Resample(mask, view, sitk.Transform(), sitk.sitkLinear))
    np.savez_compressed(file, allow_pickle=False, **arrays)
    kinds = ("head", "scan", "measured")
    return {kind: len({key.rsplit("/", 1)[0] for key in arrays if key.startswith(kind)}) for kind in kinds}


def pack_labels(
    head: object, labels: np.ndarray, change: Callable[[np.ndarray], np.ndarray] | None = None
) -> dict[str, np.ndarray]:
    """Reduce a label map of 1 mm to the two most frequent labels of each block of 2 x 2 x 2 voxels.

    Args:
        head: a SimpleITK image of FreeSurfer's numbers, 1 mm, an even number of voxels a side.
        labels: the label list: the numbers, in the order of the rows.
        change: `aged`, `shrunken` or None: what the head undergoes first. Its brain mask stays that of the original,
            which includes the fluid that atrophy leaves, with what little tissue `shrunken` moves beyond it.

    Returns:
        Arrays uint8 `[L, P, S]`, cropped to the head: `first` and `second` (rows of the label list), `share` (of
        `first` against `second`, times 255), and `brain` (fraction of brain, times 255).
    """
    import SimpleITK as sitk

    head = sitk.DICOMOrient(head, "LPS")
    values = _array(head).astype(np.int32)
    rows = np.zeros(max(int(values.max()), int(labels.max())) + 1, np.uint8)
    rows[labels] = np.arange(len(labels))
    changed = change(values) if change else values
    brain = brain_of(values) | _is_tissue(changed)
    blocks = _blocks(rows[changed])
    counts = (blocks[:, None] == blocks[None]).sum(0)
    first = np.take_along_axis(blocks, counts.argmax(0)[None], 0)[0]
    others = np.where(blocks == first, 0, counts)
    second = np.take_along_axis(blocks, others.argmax(0)[None], 0)[0]
    share = counts.max(0) / (counts.max(0) + others.max(0))
    where = np.argwhere(first > 0)
    box = tuple(slice(max(a - 2, 0), b + 3) for a, b in zip(where.min(0), where.max(0), strict=True))
    parts = {"first": first, "second": second, "share": np.rint(255 * share)}
    parts["brain"] = np.rint(255 * _blocks(brain).mean(0))
    return {name: np.ascontiguousarray(part[box].astype(np.uint8)) for name, part in parts.items()}


def brain_of(values: np.ndarray) -> np.ndarray:
    """Mask the brain in a label map of 1 mm.

    The brain is every label of cerebrum, cerebellum, brain stem and ventricles, closed by `REACH` mm within the outer
    fluid (24), so that it includes sulci and cisterns. The fluid up to `REACH` mm around it is added, except its
    outermost millimetre. Relative to deepbet's masks, this is as large as DLMUSE's brain, which includes the fluid
    around an aged brain.

    Args:
        values: FreeSurfer's numbers at 1 mm, three axes in any order.

    Returns:
        bool, the same shape.
    """
    import SimpleITK as sitk

    where = np.argwhere((values > 0) & (values < 500))
    box = tuple(slice(a, b + 1) for a, b in zip(where.min(0), where.max(0), strict=True))
    head = np.pad(values[box], REACH + 1)
    tissue = sitk.GetImageFromArray(_is_tissue(head).astype(np.uint8))
    inside = sitk.GetImageFromArray(((head > 0) & (head < 500)).astype(np.uint8))
    closed = sitk.BinaryMorphologicalClosing(tissue, [REACH] * 3, sitk.sitkBall) & inside
    near = sitk.BinaryDilate(closed, [REACH] * 3, sitk.sitkBall)
    brain = closed | (near & sitk.BinaryErode(inside, [1] * 3, sitk.sitkBall))
    inner = (slice(REACH + 1, -REACH - 1),) * 3
    result = np.zeros(values.shape, bool)
    result[box] = sitk.GetArrayFromImage(sitk.BinaryFillhole(brain))[inner] > 0
    return result


def aged(values: np.ndarray) -> np.ndarray:
    """Simulate atrophy: shrink the cortex by 1 mm against the outer fluid, and white matter by 2 mm at the ventricles.

    Args:
        values: FreeSurfer's numbers at 1 mm.

    Returns:
        A label map of the same type and shape.
    """
    import SimpleITK as sitk

    result = values.copy()
    for label, millimetres, losing in ((24, 1, (3, 42)), (4, 2, (2,)), (43, 2, (41,))):
        grown = sitk.BinaryDilate(
            sitk.GetImageFromArray((values == label).astype(np.uint8)), [millimetres] * 3, sitk.sitkBall
        )
        result[(sitk.GetArrayViewFromImage(grown) > 0) & np.isin(values, losing)] = label
    return result


def shrunken(values: np.ndarray) -> np.ndarray:
    """Simulate stronger atrophy: `aged`, and all that is brain smaller by `SHRINKAGE` within its outer fluid.

    The person lies on the back, so the brain rests at the back and on the brain stem, and the fluid gathers in front of
    it and above it. The ventricles become smaller with the brain, by less than `aged` has widened them; what would
    leave the fluid at the base of the skull, less than half a per cent of the brain, is cut off.

    Args:
        values: FreeSurfer's numbers at 1 mm, axes to L, P, S.

    Returns:
        A label map of the same type and shape.
    """
    import SimpleITK as sitk

    older = aged(values)
    where = np.argwhere(_is_tissue(older))
    lowest, highest = where.min(0), where.max(0)
    smaller = sitk.ScaleTransform(3, [1 / (1 - SHRINKAGE)] * 3)
    smaller.SetCenter([float(lowest[2]), float(highest[1]), float(lowest[0] + highest[0]) / 2])  # S, P, L
    image = sitk.GetImageFromArray(older)
    moved = sitk.GetArrayFromImage(sitk.Resample(image, image, smaller, sitk.sitkNearestNeighbor))
    inside = (older > 0) & (older < 500)
    return np.where(inside, np.where(_is_tissue(moved), moved, 24), older)


def _is_tissue(values: np.ndarray) -> np.ndarray:
    """Mask all labels of the brain but its outer fluid (24)."""
    return (values > 0) & (values < 500) & (values != 24)


def _blocks(values: np.ndarray) -> np.ndarray:
    """Rearrange `[2L, 2P, 2S]` to `[8, L, P, S]`, the voxels of each block along the first axis."""
    return np.stack([values[i::2, j::2, k::2] for i in (0, 1) for j in (0, 1) for k in (0, 1)])


def pack_scan(scan: Any, mask: Any) -> dict[str, np.ndarray]:
    """Resample a real scan and its brain mask to a grid of 2 mm along the body's axes.

    Args:
        scan, mask: SimpleITK images on one grid.

    Returns:
        Arrays uint8 `[L, P, S]`: `image`, and `brain` (fraction of brain, times 255).
    """
    import SimpleITK as sitk

    sides = np.abs(np.array(scan.GetDirection()).reshape(3, 3)) @ (np.array(scan.GetSize()) * scan.GetSpacing())
    size = [int(n) for n in np.ceil(sides / GRID) + 2]
    middle = scan.TransformContinuousIndexToPhysicalPoint([(n - 1) / 2 for n in scan.GetSize()])
    origin = [m - GRID * (n - 1) / 2 for m, n in zip(middle, size, strict=True)]
    how = (size, sitk.Transform(), sitk.sitkLinear, origin, [GRID] * 3, np.eye(3).ravel().tolist(), 0.0)
    factors = [max(int(GRID // step), 1) for step in scan.GetSpacing()]
    sampled = _array(sitk.Resample(sitk.BinShrink(sitk.Cast(scan, sitk.sitkFloat32), factors), *how))
    inside = _array(sitk.Resample(sitk.BinShrink(sitk.Cast(mask > 0, sitk.sitkFloat32), factors), *how))
    top = np.percentile(sampled[sampled > 0], 99.8)
    return {
        "image": np.rint(255 * np.clip(sampled / top, 0, 1)).astype(np.uint8),
        "brain": np.rint(255 * inside).astype(np.uint8),
    }


def _real_scans(heads: Path) -> Iterator[tuple[str, object, object]]:
    """Yield name, scan and mask of the open MS data: one person's raw scans, and stripped scans of two others."""
    import SimpleITK as sitk

    folder = heads / "ms01"
    for visit in (1, 2) if folder.is_dir() else ():
        for contrast in ("t1w", "t2w", "flair"):
            scan = sitk.ReadImage(str(folder / f"visit{visit}_{contrast}.nii.gz"))
            brain, known = ms01_masks(folder, visit, contrast, scan)
            yield f"scan_ms01_{visit}_{contrast}", sitk.Mask(scan, known), brain
    for path in sorted((heads / "cross").glob("*.nii.gz")):
        scan = sitk.ReadImage(str(path))
        mask = sitk.BinaryMorphologicalClosing(scan > 0, (3, 3, 3))
        yield f"scan_cross_{path.name.removesuffix('.nii.gz')}", scan, sitk.BinaryFillhole(mask)


def ms01_masks(folder: Path, visit: int, contrast: str, scan: object) -> tuple[Any, Any]:
    """Resample the brain mask of `ms01`, which is given in the common space, to one of its scans.

    It ends where the T1 scan of the first visit ends. Of the brain that the other scans show beyond, it says nothing.

    Args:
        folder: of `ms01`.
        visit: 1 or 2.
        contrast: "t1w", "t2w" or "flair".
        scan: the SimpleITK image of that scan.

    Returns:
        The brain, and where the mask is known, each 1 and 0 on the scan's grid.
    """
    import SimpleITK as sitk

    def inverse(name: str) -> sitk.Transform:
        return sitk.ReadTransform(str(folder / f"study{visit}_{name}.txt")).GetInverse()

    # A file "a_to_b" maps points of b to points of a, as ITK needs to resample image a in space b. So the inverses map
    # a point of the scan to FLAIR's space and on to the common space.
    to_common = sitk.CompositeTransform(3)
    to_common.AddTransform(inverse("FLAIR_to_common_space"))
    if contrast != "flair":
        to_common.AddTransform(inverse(f"{contrast[:2].upper()}W_intrastudy_to_FLAIR"))
    brain = sitk.ReadImage(str(folder / "brainmask.nii.gz"), sitk.sitkUInt8)
    known = sitk.Image(brain.GetSize(), sitk.sitkUInt8)
    known.CopyInformation(brain)
    known[:, :, MS01_KNOWN] = 1
    how = (scan, to_common, sitk.sitkNearestNeighbor, 0)
    return sitk.Resample(sitk.Mask(brain, known), *how), sitk.Resample(known, *how)


def _array(image: object) -> np.ndarray:
    import SimpleITK as sitk

    return sitk.GetArrayFromImage(image).transpose(2, 1, 0)


# What a label map is also packed as: the end of its name, and what changes it.
AGES: dict[str, Callable[[np.ndarray], np.ndarray] | None] = {"": None, "_aged": aged, "_shrunken": shrunken}


class Heads:
    """The packed heads in memory.

    Attributes:
        labels: FreeSurfer's number of every row of the label list.
        classes: as `contrasts.draw_contrast` takes them.
        maps, scans: training heads by name: label maps and real scans.
        held_out: label maps for validation, by name.
        measured: real heads for validation, by name: intensities on the network's grid, and the fraction of brain,
            both float32 `[L, P, S]`.

    Args:
        file: the packed file.
    """

    def __init__(self, file: Path) -> None:
        with np.load(file) as arrays:
            self.labels = arrays["generation_labels"]
            self.classes = {
                "random": arrays["generation_classes"].astype(np.int64),
                "t1": arrays["generation_classes_contrast_specific"].astype(np.int64),
                "t1_means": arrays["prior_means_t1"],
                "t1_stds": arrays["prior_stds_t1"],
            }
            names = sorted({key.rsplit("/", 1)[0] for key in arrays.files if "/" in key})
            parts: dict[str, dict[str, Tensor]] = {name: {} for name in names}
            for key in arrays.files:
                if "/" in key:
                    name, part = key.rsplit("/", 1)
                    parts[name][part] = tensor_of(arrays[key])
        heads = {name: _head(part) for name, part in parts.items() if not name.startswith("measured")}
        self.maps = {n: h for n, h in heads.items() if n.startswith("head") and n not in HELD_OUT}
        self.held_out = {n: h for n, h in heads.items() if n in HELD_OUT}
        self.scans = {n: h for n, h in heads.items() if n.startswith("scan")}
        self.measured = {n: (p["view"], p["brain"]) for n, p in parts.items() if n.startswith("measured")}


def _head(parts: dict[str, torch.Tensor]) -> Head:
    brain = parts["brain"].float() / 255
    if "image" in parts:
        return Head(brain, image=parts["image"].float() / 255)
    return Head(brain, None, parts["first"].int(), parts["second"].int(), parts["share"].float() / 255)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="the folder with labelmaps and heads")
    parser.add_argument("file", type=Path, help="the packed file")
    arguments = parser.parse_args()
    print(pack(arguments.data, arguments.file))
