"""Deformable registration of two brain MR scans with ULAE-net (Shu et al., MICCAI 2021).

>>> from ULAERegistrationLib import register
>>> registration = register("fixed.nii.gz", "moving.nii.gz")  # doctest: +SKIP
>>> registration.save("result")  # doctest: +SKIP

The names below are imported on first use, so that Slicer can import the torch-free modules of this package
(`process.job`, `mrml`) on a machine without torch.
"""

from importlib import import_module

__version__ = "0.1.0"

_MODULES = {
    "register": "registration",
    "Registration": "result",
    "Step": "result",
    "Cancelled": "errors",
    "RegistrationError": "errors",
    "RegistrationSettings": "settings",
}
__all__ = [*_MODULES, "__version__"]


def __getattr__(name: str):
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_MODULES[name]}"), name)


def __dir__() -> list[str]:
    return sorted(__all__)
