"""Conversion between numpy arrays and torch tensors without torch's own conversion.

The last torch for macOS on Intel processors is 2.2, built for numpy 1, and Slicer has numpy 2. There
`torch.from_numpy`, `torch.as_tensor(array)` and `tensor.numpy()` raise "Numpy is not available". These functions copy
the memory instead, or share it by DLPack, which both packages know without each other; the library converts through
them only.
"""

from __future__ import annotations

import ctypes

import numpy as np
import torch
from torch import Tensor

_DTYPES: dict[str, torch.dtype] = {
    "float32": torch.float32,
    "float64": torch.float64,
    "uint8": torch.uint8,
    "int16": torch.int16,
    "int32": torch.int32,
    "int64": torch.int64,
    "bool": torch.bool,
}


def tensor_of(array: np.ndarray) -> Tensor:
    """Copy an array to a tensor on the CPU.

    Args:
        array: of any shape and layout; float32, float64, uint8, int16, int32, int64 or bool.

    Raises:
        TypeError: for another type of number.
    """
    if array.dtype.name not in _DTYPES:
        raise TypeError(f"an array of {array.dtype} has no tensor; convert it first")
    tensor = torch.empty(array.shape, dtype=_DTYPES[array.dtype.name])
    source = np.ascontiguousarray(array)
    if source.nbytes:
        ctypes.memmove(tensor.data_ptr(), source.ctypes.data, source.nbytes)
    return tensor


def array_of(tensor: Tensor) -> np.ndarray:
    """Copy a tensor to an array.

    Args:
        tensor: on any device, of any layout; it is detached from its gradients.

    Raises:
        TypeError: for a type of number that numpy lacks, such as bfloat16.
    """
    name = next((name for name, dtype in _DTYPES.items() if dtype == tensor.dtype), None)
    if name is None:
        raise TypeError(f"a tensor of {tensor.dtype} has no array; convert it first")
    source = tensor.detach().cpu().contiguous()
    array = np.empty(tuple(source.shape), np.dtype(name))
    if array.nbytes:
        ctypes.memmove(array.ctypes.data, source.data_ptr(), array.nbytes)
    return array


def array_sharing(tensor: Tensor) -> np.ndarray:
    """Return an array on the memory of a float32 tensor on the CPU, for flows, which are large."""
    return np.from_dlpack(tensor.detach())


def tensor_sharing(array: np.ndarray) -> Tensor:
    """Return a tensor on the memory of a float32 or float64 array that can be written to."""
    return torch.from_dlpack(array)
