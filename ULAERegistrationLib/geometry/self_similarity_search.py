"""Find the linear map under which two images of any contrasts are most alike in their self-similarity."""

from __future__ import annotations

import numpy as np
import SimpleITK as sitk

from .affine_search import LinearSearch, solved

REACH = 3  # voxels that a descriptor and its gradient read around a voxel


class SelfSimilaritySearch(LinearSearch):
    """The search by the mean square difference of two images' descriptors (MIND-SSC), with its sign changed.

    The descriptors of the moving image are computed anew for each map, as those of a rotated image are no rotated ones.

    Args:
        fixed, moving, domain: as of `LinearSearch`.
    """

    def __init__(self, fixed: sitk.Image, moving: sitk.Image, domain: np.ndarray) -> None:
        super().__init__(fixed, moving, domain, margin=REACH)
        self.target = _descriptors(sitk.GetArrayFromImage(self.fixed))
        self.target_gradients = [self._gradient(channel) for channel in self.target]

    def _reads(self, inside: np.ndarray) -> np.ndarray:
        return np.ones_like(inside)  # as each descriptor is divided by a mean of all

    def _sample(self, maps: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        sampled = np.stack([_descriptors(values) for values in self._resampled(maps)])
        return sampled, -np.square(self._within(sampled - self.target)).mean(axis=(1, 2))

    def _steps(self, sampled: np.ndarray, basis: np.ndarray) -> np.ndarray:
        return np.stack([self._step(channels, basis) for channels in sampled])

    def _step(self, channels: np.ndarray, basis: np.ndarray) -> np.ndarray:
        normal, error = np.zeros((12, 12)), np.zeros(12)
        for channel, target, gradient in zip(channels, self.target, self.target_gradients, strict=True):
            (rows,) = self._rows(0.5 * (self._gradient(channel) + gradient)[None])
            normal += rows @ rows.T
            error += rows @ self._within(target - channel)
        return solved(basis.T @ normal @ basis, basis.T @ error)


def _descriptors(values: np.ndarray) -> np.ndarray:
    """Compute the descriptors of an image, [12, z, y, x]."""
    # Imported here because they load torch, which what is shown before a registration does not wait for.
    from ..flows.self_similarity import self_similarity
    from ..tensors import array_of, tensor_of

    return array_of(self_similarity(tensor_of(values)[None, None])[0])
