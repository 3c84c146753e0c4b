"""Small people who are made up, for what measures and evaluates: eggs of blobs with 32 labels."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
import torch
import torch.nn.functional as F

from ULAERegistrationLib.flows.warp import warp

SIZE = (32, 48, 32)
SPACING = (3.0, 3.0, 3.0)


def blobs(seed: int, channels: int, controls: int) -> torch.Tensor:
    generator = torch.Generator().manual_seed(seed)
    coarse = torch.randn(1, channels, *[controls] * 3, generator=generator)
    return F.interpolate(coarse, size=SIZE, mode="trilinear", align_corners=True)


def made_up(bend: float, seed: int, first_label: int) -> tuple[np.ndarray, np.ndarray]:
    """An egg of blobs and 32 labels in it, bent by so many voxels: uint8 and int32 `[L, P, S]`."""
    axes = torch.meshgrid(*(torch.linspace(-1, 1, n) for n in SIZE), indexing="ij")
    egg = sum(axis**2 for axis in axes)[None, None] < 0.7
    image = (110 + 45 * blobs(3, 1, 12)).clamp(20, 255) * egg
    octants = sum((axis > 0) * weight for axis, weight in zip(axes, (1, 2, 4), strict=True))
    labels = (first_label + octants * 4 + (blobs(4, 1, 5)[0, 0] > 0) * 2 + (blobs(5, 1, 5)[0, 0] > 0)) * egg[0, 0]
    flow = bend * blobs(seed, 3, 4)
    bent = warp(labels[None, None].float(), flow, mode="nearest")
    return warp(image, flow)[0, 0].byte().numpy(), bent[0, 0].int().numpy()


def write(values: np.ndarray, path) -> None:
    image = sitk.GetImageFromArray(np.ascontiguousarray(values.T))
    image.SetSpacing(SPACING)
    sitk.WriteImage(image, str(path))
