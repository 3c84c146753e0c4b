"""Other methods for comparison: the affine alignment alone, SyN of ANTs with two measures, and Greedy."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import SimpleITK as sitk
import torch
from torch import Tensor

from ..errors import RegistrationError
from ..tensors import array_of, tensor_of


def affine_only(*, fixed: Tensor, moving: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """Return a zero flow, which leaves the brains as they are aligned in the common frame."""
    return fixed.new_zeros(1, 3, *fixed.shape[2:]), ()


def check_package(method: str, package: str, module: str) -> None:
    """Check that the package of a method is installed.

    Args:
        method: the name that people give in `--methods`.
        package, module: what pip installs and what Python imports.

    Raises:
        RegistrationError: where it is not; the message says how to install it.
    """
    if find_spec(module) is None:
        raise RegistrationError(
            f"The method {method!r} needs {package}, which is not installed; run `pip install {package}` "
            "or leave it out of --methods."
        )


# Local cross-correlation in windows of radius 4, with antspyx's own iterations, as for mutual information: 40 on a
# quarter of the grid and 20 on half of it. Those of antsRegistrationSyN.sh take hours.
SYN_CC: dict[str, Any] = {"syn_metric": "CC", "syn_sampling": 4}


def syn(*, fixed: Tensor, moving: Tensor, **options: Any) -> tuple[Tensor, tuple[str, ...]]:
    """Register by SyN: antspyx's affine alignment, then the symmetric normalisation.

    Args:
        fixed, moving: `[1, 1, L, P, S]` in [0, 1].
        options: of `ants.registration`; without any it maximises mutual information, with `SYN_CC` local
            cross-correlation.

    Returns:
        The composed flow `[1, 3, L, P, S]` in voxels, and no warnings.
    """
    import ants

    with tempfile.TemporaryDirectory(prefix="ulae-syn-") as folder:
        result = ants.registration(
            *(ants.from_numpy(array_of(image[0, 0])) for image in (fixed, moving)),
            type_of_transform="SyN",
            outprefix=f"{folder}/",
            random_seed=1,
            **options,
        )
        # ANTs applies its list to a fixed point from the front, SimpleITK a composite transform from the back.
        parts = [_read_transform(Path(file)) for file in reversed(result["fwdtransforms"])]
    field = sitk.TransformToDisplacementField(
        sitk.CompositeTransform(parts), sitk.sitkVectorFloat32, tuple(fixed.shape[2:])
    )
    return _flow(field), ()


def greedy(*, fixed: Tensor, moving: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """Register by Greedy's deformable mode: local cross-correlation in 9 x 9 x 9 voxels, 100, 100 and 50 iterations.

    The brains are already affine to each other, so that its affine mode is not run.

    Args:
        fixed, moving: `[1, 1, L, P, S]` in [0, 1].

    Returns:
        The flow `[1, 3, L, P, S]` in voxels, and no warnings.
    """
    from picsl_greedy import Greedy3D

    tool = Greedy3D()
    tool.execute(
        f"-i fixed moving -o warp -m NCC 4x4x4 -n 100x100x50 -threads {torch.get_num_threads()} -V 0",
        fixed=_image(fixed),
        moving=_image(moving),
        warp=None,
    )
    return _flow(tool["warp"]), ()


def _image(values: Tensor) -> sitk.Image:
    """Return `[1, 1, L, P, S]` as an image of 1 mm voxels whose x, y and z are L, P and S."""
    return sitk.GetImageFromArray(array_of(values[0, 0]).transpose(2, 1, 0))


def _flow(field: sitk.Image) -> Tensor:
    """Return a displacement field (mm) on the grid of `_image` as a flow `[1, 3, L, P, S]` in voxels."""
    values = sitk.GetArrayFromImage(field).astype(np.float32).transpose(3, 2, 1, 0)
    return tensor_of(np.ascontiguousarray(values))[None]


def _read_transform(file: Path) -> sitk.Transform:
    if file.suffix == ".mat":
        return sitk.ReadTransform(str(file))
    return sitk.DisplacementFieldTransform(sitk.ReadImage(str(file), sitk.sitkVectorFloat64))
