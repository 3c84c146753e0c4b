"""The methods that are compared: each finds a flow between two brains that already share the canonical frame."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Protocol

from torch import Tensor

from ..canonical_flows import canonical_flows
from ..errors import RegistrationError
from ..network.devices import choose_device, choose_precision
from ..network.weights import load_network
from ..quality import STEPS_LEFT_OUT
from ..settings import Device, Precision, PresetName, RegistrationSettings
from .baselines import SYN_CC, affine_only, check_package, greedy, syn


class Method(Protocol):
    """A method to compare: a function of two images, `[1, 1, L, P, S]` in [0, 1], called by keyword.

    It returns the flow `[1, 3, L, P, S]` in voxels, fixed to moving, and warnings, one sentence each.
    """

    def __call__(self, *, fixed: Tensor, moving: Tensor) -> tuple[Tensor, tuple[str, ...]]: ...


BASELINES: dict[str, Method] = {
    "affine": affine_only,
    "greedy": greedy,
    "syn": syn,
    "syn-cc": partial(syn, **SYN_CC),
}
# What pip installs and Python imports for a method that needs more than ours do.
PACKAGES = {
    "greedy": ("picsl-greedy", "picsl_greedy"),
    "syn": ("antspyx", "ants"),
    "syn-cc": ("antspyx", "ants"),
}
# Our methods, and the preset of `register` that each one runs.
OURS: dict[str, PresetName] = {"network": "fast", "accurate": "accurate", "smooth": "smooth"}
METHODS = (*BASELINES, *OURS)
TITLES = {
    "affine": "affine only",
    "greedy": "Greedy (NCC)",
    "syn": "SyN (ANTs, MI)",
    "syn-cc": "SyN (ANTs, CC)",
    "network": "ours, network only",
    "accurate": "ours, accurate",
    "smooth": "ours, smooth",
}


def check_names(names: Sequence[str]) -> None:
    """Check the names of the methods.

    Raises:
        RegistrationError: for no name, and a repeated or unknown one.
    """
    for name in names:
        if name not in METHODS:
            raise RegistrationError(f"The method {name!r} is not known; choose among {', '.join(METHODS)}.")
    if not names or len(set(names)) < len(names):
        raise RegistrationError("The methods are none or one of them twice; name each once, separated by commas.")


def check_methods(names: Sequence[str]) -> None:
    """Check that methods can be run here.

    Raises:
        RegistrationError: as `check_names` does, and for a package that is not installed.
    """
    check_names(names)
    for name in names:
        if name in PACKAGES:
            check_package(name, *PACKAGES[name])


def prepare(name: str, model: str | None = None, device: Device = "auto", precision: Precision = "auto") -> Method:
    """Prepare a method, so that only the registration itself remains to be timed.

    Args:
        name: one of `METHODS`.
        model, device, precision: of our methods, as in `RegistrationSettings`.

    Raises:
        RegistrationError: for weights, a device or a precision that cannot be used.
    """
    if name in BASELINES:
        return BASELINES[name]

    network, card = load_network(model)
    settings = RegistrationSettings(preset=OURS[name], device=device, precision=precision, model=model)
    choose_precision(choose_device(device), precision)  # its test of the device is cached, and so not timed

    def run(*, fixed: Tensor, moving: Tensor) -> tuple[Tensor, tuple[str, ...]]:
        found = canonical_flows(fixed=fixed, moving=moving, network=network, card=card, settings=settings)
        return found.total, (STEPS_LEFT_OUT,) if found.steps_left_out else ()

    return run
