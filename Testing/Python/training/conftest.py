"""What the tests of training share: a small packed set, settings for it, and an augmentation that changes nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import fields
from pathlib import Path

import numpy as np
import pytest
import SimpleITK as sitk
import torch
import torch.nn.functional as F

from ULAERegistrationLib.flows.warp import warp
from ULAERegistrationLib.geometry import canonical
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
    return TrainingSettings(
        phases=(Phase(voxel_mm=2, steps=2, learning_rate=1e-3, windows=(5, 3)),),
        validation_people=("nirep-na04", "nirep-na16"),
        validate_every=100,
        precision="float32",
    )


@pytest.fixture(scope="session")
def pack_people(tmp_path_factory) -> Callable[..., Path]:
    """Pack people who are one set of blobs, each bent another way; those who are named in `labelled` have labels.

    The labels are two: of what is dark, and of what is bright.

    Their frame is a cube, small enough that a step takes half a second.
    """

    def packed(people: Sequence[str], labelled: Sequence[str], numbers: tuple[int, int] = (0, 1)) -> Path:
        folder = tmp_path_factory.mktemp("brains")
        generator = torch.Generator().manual_seed(5)
        blobs = F.interpolate(torch.rand(1, 1, 8, 8, 8, generator=generator), size=[SIDE] * 3, mode="trilinear")
        for person in people:
            bend = F.interpolate(4 * torch.randn(1, 3, 4, 4, 4, generator=generator), size=[SIDE] * 3, mode="trilinear")
            values = (255 * warp(blobs, bend, "border")[0, 0]).byte().permute(2, 1, 0).numpy()
            image = sitk.GetImageFromArray(values)
            sitk.WriteImage(image, str(folder / f"{person}_t1.nii.gz"))
            if person in labelled:
                labels = sitk.GetImageFromArray(np.where(values > 128, *numbers[::-1]).astype(np.int16))
                sitk.WriteImage(labels, str(folder / f"{person}_seg.nii.gz"))
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(canonical, "canonical_grid", lambda: sitk.Image([SIDE] * 3, sitk.sitkUInt8))
            counts = pack(folder, folder / "pack.npz")
        assert (counts["people"], counts["labelled"], counts["heads"]) == (len(people), len(labelled), 0)
        return folder / "pack.npz"

    return packed


@pytest.fixture(scope="session")
def packed(pack_people) -> Path:
    """Five people: three train, two of them labelled; two validate."""
    labelled = ("nirep-na01", "nirep-na02", "nirep-na04", "nirep-na16")
    return pack_people(("made-up1", *labelled), labelled)


@pytest.fixture(scope="session")
def brains(packed) -> Brains:
    """The packed set, which must not be changed."""
    return Brains(packed)
