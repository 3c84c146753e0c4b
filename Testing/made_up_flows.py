"""Smooth random flows on a small grid, and the same as SimpleITK has them."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk
import torch

SIZE = (24, 30, 27)


def smooth_flow(strength: float, size: tuple[int, int, int] = SIZE) -> np.ndarray:
    coarse = torch.randn(1, 3, 5, 6, 5, generator=torch.manual_seed(3)) * strength
    return torch.nn.functional.interpolate(coarse, size=size, mode="trilinear", align_corners=True)[0].numpy()


def as_itk_field(flow: np.ndarray) -> sitk.Image:
    return sitk.GetImageFromArray(flow.transpose(3, 2, 1, 0).astype(np.float64), isVector=True)
