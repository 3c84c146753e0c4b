"""Too little memory and unforeseen errors are sentences, whoever raises them."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
import torch

from ULAERegistrationLib.errors import lacks_memory, unexpected


@pytest.mark.parametrize(
    "allocate",
    [
        lambda: torch.empty(1 << 50),
        lambda: sitk.Image([60_000] * 3, sitk.sitkFloat64),
        lambda: np.empty(1 << 50),
    ],
    ids=["torch", "ITK", "numpy"],
)
def test_too_little_memory_is_known_by_what_each_library_raises(allocate) -> None:
    with pytest.raises((RuntimeError, MemoryError)) as caught:
        allocate()
    assert lacks_memory(caught.value)


@pytest.mark.parametrize("text", ["DefaultCPUAllocator: not enough memory: you tried to allocate 9", "bad allocation"])
def test_too_little_memory_is_known_on_windows(text) -> None:
    assert lacks_memory(RuntimeError(text))


def test_other_errors_are_not_taken_for_it() -> None:
    assert not lacks_memory(RuntimeError("sizes differ"))
    assert not lacks_memory(ValueError("out of memory"))


def test_an_error_of_several_lines_is_said_in_one() -> None:
    with pytest.raises(RuntimeError) as caught:
        sitk.ReadImage("none.nii.gz")
    assert "\n" in str(caught.value)
    assert unexpected(caught.value).isprintable()
    assert unexpected(caught.value).startswith("The registration failed unexpectedly (RuntimeError: ")
