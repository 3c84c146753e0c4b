"""Brains in half the bytes, for the packed training file: a rounded wavelet transform, with numpy alone.

The transform is the integer one of Le Gall (5/3, as in JPEG 2000) over two levels. Rounding its finest details costs
least, because they are mostly noise. What is 0 in the image stays 0 exactly, as it tells where the brain is.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

STEPS = (7, 3)  # to multiples of which the details of the finest and of the next level are rounded; odd, for no bias
PARTS = ("inside", "coarse", "details0", "details1")  # what `encode` returns


def encode(image: np.ndarray) -> dict[str, np.ndarray]:
    """Encode an image.

    Args:
        image: uint8 [L, P, S], 0 outside the brain; sides are multiples of 4.

    Returns:
        Arrays by name for `decode`, of small numbers, which any general compression makes small.
    """
    arrays = {"inside": np.packbits(image > 0)}
    coarse = image.astype(np.int16)
    for level, step in enumerate(STEPS):
        coarse, *details = _split(coarse)
        rounded = np.sign(details) * ((np.abs(details) + step // 2) // step)
        arrays[f"details{level}"] = np.clip(rounded, -128, 127).astype(np.int8)
    return arrays | {"coarse": coarse}


def decode(arrays: Mapping[str, np.ndarray]) -> np.ndarray:
    """Return the image, uint8 [L, P, S], that `encode` was given, up to its rounding."""
    image = arrays["coarse"]
    for level, step in reversed(list(enumerate(STEPS))):
        image = _join([image, *(arrays[f"details{level}"].astype(np.int16) * step)])
    inside = np.unpackbits(arrays["inside"], count=image.size).reshape(image.shape)
    return (np.clip(image, 1, 255) * inside).astype(np.uint8)


def _split(image: np.ndarray) -> list[np.ndarray]:
    """Split an image into means and details along each axis: eight parts of half its sides, the coarse one first."""
    parts = [image]
    for axis in range(3):
        parts = [half for part in parts for half in _split_axis(np.moveaxis(part, axis, 0), axis)]
    return parts


def _join(parts: list[np.ndarray]) -> np.ndarray:
    """Undo `_split`."""
    for axis in (2, 1, 0):
        halves = [np.moveaxis(part, axis, 0) for part in parts]
        parts = [_join_axis(halves[n], halves[n + 1], axis) for n in range(0, len(halves), 2)]
    return parts[0]


def _split_axis(image: np.ndarray, axis: int) -> tuple[np.ndarray, np.ndarray]:
    even, odd = image[0::2], image[1::2]
    odd = odd - (even + np.concatenate([even[1:], even[-1:]]) >> 1)
    even = even + (np.concatenate([odd[:1], odd[:-1]]) + odd + 2 >> 2)
    return np.moveaxis(even, 0, axis), np.moveaxis(odd, 0, axis)


def _join_axis(even: np.ndarray, odd: np.ndarray, axis: int) -> np.ndarray:
    even = even - (np.concatenate([odd[:1], odd[:-1]]) + odd + 2 >> 2)
    odd = odd + (even + np.concatenate([even[1:], even[-1:]]) >> 1)
    return np.moveaxis(np.stack([even, odd], 1).reshape(2 * len(even), *even.shape[1:]), 0, axis)
