"""What the tests of training share: a small packed set, settings for it, and an augmentation that changes nothing."""

from __future__ import annotations

from dataclasses import fields
from pathlib import Path

import pytest
import SimpleITK as sitk
import torch
import torch.nn.functional as F

from ULAERegistrationLib.flows.warp import warp
from ULAERegistrationLib.training import data
from ULAERegistrationLib.training.augmentation import Augmentation
from ULAERegistrationLib.training.data import Brains, pack
from ULAERegistrationLib.training.recipe import Phase, TrainingSettings

SIDE = 64  # voxels of the small canonical grid


@pytest.fixture(scope="session")
def still() -> Augmentation:
    """An augmentation that changes nothing but the pose that both images share."""
    changes = {field.name: 0 for field in fields(Augmentation) if not field.name.startswith("shared")}
    return Augmentation(**changes)


@pytest.fixture(scope="session")
def settings() -> TrainingSettings:
    """A run of two steps on half the small grid."""
    phases = (Phase(voxel_mm=2, steps=2, learning_rate=1e-3, windows=(5, 3)),)
    return TrainingSettings(phases=phases, validate_every=100, precision="float32")


@pytest.fixture(scope="session")
def packed(tmp_path_factory) -> Path:
    """Five people who are one set of blobs, each bent another way: three train, two of them labelled; two validate.

    Their frame is a cube, small enough that a step takes half a second.
    """
    folder = tmp_path_factory.mktemp("brains")
    generator = torch.Generator().manual_seed(5)
    blobs = F.interpolate(torch.rand(1, 1, 8, 8, 8, generator=generator), size=[SIDE] * 3, mode="trilinear")
    for person in ("made-up1", "nirep-na01", "nirep-na02", "nirep-na04", "nirep-na16"):
        bend = F.interpolate(4 * torch.randn(1, 3, 4, 4, 4, generator=generator), size=[SIDE] * 3, mode="trilinear")
        values = (255 * warp(blobs, bend, "border")[0, 0]).byte().permute(2, 1, 0).numpy()
        image = sitk.GetImageFromArray(values)
        sitk.WriteImage(image, str(folder / f"{person}_t1.nii.gz"))
        if person.startswith("nirep"):
            sitk.WriteImage(image > 128, str(folder / f"{person}_seg.nii.gz"))
    file = folder / "pack.npz"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(data, "CANONICAL_SIZE", (SIDE,) * 3)
        counts = pack(folder, file)
    assert (counts["people"], counts["labelled"], counts["heads"]) == (5, 4, 0)
    return file


@pytest.fixture(scope="session")
def brains(packed) -> Brains:
    """The packed set, which must not be changed."""
    return Brains(packed, ("nirep-na04", "nirep-na16"))
