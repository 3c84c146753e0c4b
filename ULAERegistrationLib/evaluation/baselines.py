"""Other methods for comparison: the affine alignment alone, and SyN of ANTs."""

from __future__ import annotations

import tempfile
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import SimpleITK as sitk
from torch import Tensor

from ..errors import RegistrationError
from ..tensors import array_of, tensor_of


def affine_only(*, fixed: Tensor, moving: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """Return a zero flow, which leaves the brains as they are aligned in the common frame."""
    return fixed.new_zeros(1, 3, *fixed.shape[2:]), ()


def check_syn() -> None:
    """Check that the package of SyN is installed.

    Raises:
        RegistrationError: where it is not; the message says how to install it.
    """
    if find_spec("ants") is None:
        raise RegistrationError(
            "The method 'syn' needs antspyx, which is not installed; run `pip install ulae-registration[baselines]` or "
            "leave it out of --methods."
        )


def syn(*, fixed: Tensor, moving: Tensor) -> tuple[Tensor, tuple[str, ...]]:
    """Register by SyN with antspyx's defaults: its own affine alignment, then mutual information.

    Args:
        fixed, moving: `[1, 1, L, P, S]` in [0, 1].

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
        )
        # ANTs applies its list to a fixed point from the front, SimpleITK a composite transform from the back.
        parts = [_read_transform(Path(file)) for file in reversed(result["fwdtransforms"])]
    field = sitk.TransformToDisplacementField(
        sitk.CompositeTransform(parts), sitk.sitkVectorFloat32, tuple(fixed.shape[2:])
    )
    flow = np.ascontiguousarray(sitk.GetArrayFromImage(field).transpose(3, 2, 1, 0))
    return tensor_of(flow)[None], ()


def _read_transform(file: Path) -> sitk.Transform:
    if file.suffix == ".mat":
        return sitk.ReadTransform(str(file))
    return sitk.DisplacementFieldTransform(sitk.ReadImage(str(file), sitk.sitkVectorFloat64))
