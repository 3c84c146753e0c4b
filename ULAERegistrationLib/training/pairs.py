"""The pairs of a training run: two people, two whose manual labels compare, or two brains painted from label maps."""

from __future__ import annotations

import torch
from torch import Tensor

from ..flows.warp import downsample_image
from .augmentation import Pair
from .data import Brains
from .recipe import TrainingSettings
from .synthesis import synthesise


class Pairs:
    """Draws the pairs of a run at random, augmented.

    Args:
        brains: the packed set.
        settings: of the run.
        random: generator; no other is used.
    """

    def __init__(self, brains: Brains, settings: TrainingSettings, random: torch.Generator) -> None:
        self._brains, self._settings, self._random = brains, settings, random
        self._average_image: Tensor | None = None

    def draw(self, images: Tensor, voxel_mm: int) -> Pair:
        """Draw the pair of one step.

        Args:
            images: of all training people, `[n, 1, L, P, S]` in [0, 1], on the grid of the phase.
            voxel_mm: side of that grid's voxels, mm.
        """
        augmentation = self._settings.augmentation
        kind = torch.rand((), generator=self._random).item()
        if kind < self._painted_share:
            return self._painted_pair(voxel_mm)
        if self._teaches_labels and kind < self._painted_share + self._settings.one_protocol:
            return self._labelled_pair(images, voxel_mm)
        i, j = torch.randperm(len(images), generator=self._random)[:2].tolist()
        moving = self._brain(images, i, voxel_mm)
        one_brain = torch.rand((), generator=self._random) < augmentation.one_brain
        fixed = moving if one_brain else self._brain(images, j, voxel_mm)
        return augmentation(fixed=fixed, moving=moving, random=self._random, average=self._average_brain(images))

    def taught_by(self) -> list[str]:
        """Return the people whose manual labels are in the loss."""
        places = [place for group in self._brains.labelled.values() for place in group] if self._teaches_labels else []
        return [self._brains.training_people[place] for place in sorted(places)]

    @property
    def _painted_share(self) -> float:
        return self._settings.painted_pairs if len(self._brains.tissues) > 1 else 0.0

    @property
    def _teaches_labels(self) -> bool:
        settings = self._settings
        drawn = settings.one_protocol > 0 and self._painted_share < 1
        return settings.labels > 0 and drawn and bool(self._brains.labelled)

    def _labelled_pair(self, images: Tensor, voxel_mm: int) -> Pair:
        """Make a pair of two training people whose labels compare, with their label maps."""
        groups = list(self._brains.labelled.values())
        group = groups[torch.randint(len(groups), (), generator=self._random)]
        i, j = (group[k] for k in torch.randperm(len(group), generator=self._random)[:2])
        fixed_labels, moving_labels = (
            self._brains.cortical_map(self._brains.training_people[k], voxel_mm) for k in (i, j)
        )
        return self._settings.augmentation(
            fixed=images[i : i + 1],
            moving=images[j : j + 1],
            random=self._random,
            labels=(fixed_labels, moving_labels),
            average=self._average_brain(images),
        )

    def _painted_pair(self, voxel_mm: int) -> Pair:
        """Make a pair of two brains that are painted from label maps, with their tissues as labels."""
        i, j = torch.randperm(len(self._brains.tissues), generator=self._random)[:2].tolist()
        return self._settings.augmentation(
            fixed=self._painted(i, voxel_mm),
            moving=self._painted(j, voxel_mm),
            random=self._random,
            labels=(self._brains.tissue_map(i, voxel_mm), self._brains.tissue_map(j, voxel_mm)),
        )

    def _average_brain(self, images: Tensor) -> Tensor | None:
        """Return the average of the training images where other contrasts are shown as T1, else None."""
        if not self._settings.augmentation.contrasts:
            return None
        if self._average_image is None or self._average_image.shape[2:] != images.shape[2:]:
            self._average_image = images.mean(0, keepdim=True)
        return self._average_image

    def _brain(self, images: Tensor, index: int, voxel_mm: int) -> Tensor:
        """Return the image of a training person or, at random, a synthetic brain."""
        heads = len(self._brains.tissues)
        if not heads or torch.rand((), generator=self._random) >= self._settings.augmentation.synthetic:
            return images[index : index + 1]
        return self._painted(int(torch.randint(heads, (), generator=self._random)), voxel_mm)

    def _painted(self, head: int, voxel_mm: int) -> Tensor:
        return downsample_image(synthesise(self._brains.tissues[head], self._random), voxel_mm)
