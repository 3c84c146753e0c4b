"""Deformable registration of two brain MR scans with ULAE-net (Shu et al., MICCAI 2021).

>>> from ULAERegistrationLib import register
>>> registration = register("fixed.nii.gz", "moving.nii.gz")  # doctest: +SKIP
>>> registration.save("result")  # doctest: +SKIP

The names below are imported on first use, so that Slicer can import the modules of this package that need no torch
(`process.job`, `mrml`) on a machine without torch.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # for type checkers, which cannot see what __getattr__ imports
    from .applying import apply_transform, apply_transform_to_points
    from .errors import Cancelled, RegistrationError
    from .files.transforms import read_transform, write_transform
    from .network.brain_extraction import extract_brain
    from .registration import register
    from .result import Registration, Step
    from .settings import RegistrationSettings

__version__ = "0.2.0"
__all__ = [
    "Cancelled",
    "Registration",
    "RegistrationError",
    "RegistrationSettings",
    "Step",
    "__version__",
    "apply_transform",
    "apply_transform_to_points",
    "extract_brain",
    "read_transform",
    "register",
    "write_transform",
]

_MODULES = {
    "register": "registration",
    "Registration": "result",
    "Step": "result",
    "apply_transform": "applying",
    "apply_transform_to_points": "applying",
    "read_transform": "files.transforms",
    "write_transform": "files.transforms",
    "extract_brain": "network.brain_extraction",
    "Cancelled": "errors",
    "RegistrationError": "errors",
    "RegistrationSettings": "settings",
}


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
