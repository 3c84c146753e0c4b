"""MIND-SSC against its definition, voxel by voxel, and its reason: it does not see the contrast."""

from __future__ import annotations

from itertools import combinations

import numpy as np
import pytest
import torch

from ULAERegistrationLib.flows.self_similarity import self_similarity, self_similarity_distance


@pytest.fixture(scope="module")
def image() -> torch.Tensor:
    return torch.rand(1, 1, 9, 10, 11, generator=torch.Generator().manual_seed(1))


def defined(image: np.ndarray, voxel: tuple[int, int, int]) -> np.ndarray:
    """The twelve values of an inner voxel, from Heinrich's formulas, with single voxels and loops."""
    around = [np.array(step) for step in [(1, 0, 0), (-1, 0, 0), (0, 1, 0), (0, -1, 0), (0, 0, 1), (0, 0, -1)]]
    offsets = [np.array(offset) - 1 for offset in np.ndindex(3, 3, 3)]
    distances = []
    for first, second in combinations(around, 2):
        if (first + second).any():  # not on opposite sides
            pairs = ((tuple(voxel + first + offset), tuple(voxel + second + offset)) for offset in offsets)
            distances.append(np.mean([(image[a] - image[b]) ** 2 for a, b in pairs]))
    distances = np.array(distances) - min(distances)
    return np.exp(-distances / distances.mean())


def test_the_descriptors_are_those_of_the_paper(image) -> None:
    found = self_similarity(image)
    assert found.shape == (1, 12, 9, 10, 11)
    for voxel in ((4, 4, 4), (3, 5, 7), (5, 6, 4)):
        expected = defined(image[0, 0].double().numpy(), voxel)
        np.testing.assert_allclose(found[0, :, *voxel].numpy(), expected, rtol=1e-4)


def test_an_inverted_or_stretched_contrast_changes_nothing(image) -> None:
    torch.testing.assert_close(self_similarity(1 - image), self_similarity(image), rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(self_similarity(3 * image + 5), self_similarity(image), rtol=1e-3, atol=1e-3)


def test_another_place_has_other_descriptors(image) -> None:
    assert (self_similarity(image.roll(1, 2)) - self_similarity(image)).abs().mean() > 0.1


def test_a_constant_image_is_alike_everywhere() -> None:
    assert (self_similarity(torch.full((1, 1, 8, 8, 8), 0.7)) == 1).all()


def test_the_distance_sees_a_shift_and_not_a_contrast() -> None:
    image = torch.nn.functional.interpolate(
        torch.rand(1, 1, 6, 6, 6, generator=torch.Generator().manual_seed(1)), size=(24, 24, 24), mode="trilinear"
    )
    assert self_similarity_distance(image, 1 - image) < 1e-4
    assert self_similarity_distance(image, 1 - image.roll(4, 2)) > 0.01
