"""What Slicer's Python lacks for a registration, and how it gets there: only when the user clicks and agrees."""

from __future__ import annotations

from importlib.util import find_spec

import slicer

TORCH_REQUIREMENT = ">=2.2"
PACKAGES = {"torch": "PyTorch", "safetensors": "safetensors", "matplotlib": "matplotlib"}  # import name -> shown name


def missing() -> list[str]:
    """Names of the packages that are not installed; nothing is imported."""
    return [name for package, name in PACKAGES.items() if find_spec(package) is None]


def install(requirementsFile: str) -> None:
    """Installs what is missing: torch through the PyTorch extension, the rest by pip, each after asking.

    :raises RuntimeError: one sentence on what is still missing and what to do.
    """
    if find_spec("torch") is None:
        _installTorch()
    if missing():
        _installRequirements(requirementsFile)
    if missing():
        raise RuntimeError(f"Still not installed: {', '.join(missing())}; install it, or restart Slicer and try again.")


def _installTorch() -> None:
    try:
        import PyTorchUtils
    except ModuleNotFoundError:
        _installExtension()
        raise RuntimeError("Restart Slicer to complete the installation of the PyTorch extension.") from None
    # The right build for this computer's graphics card is PyTorchUtils' business.
    torch = PyTorchUtils.PyTorchUtilsLogic().installTorch(
        askConfirmation=True, torchVersionRequirement=TORCH_REQUIREMENT
    )
    if torch is None:
        raise RuntimeError("PyTorch was not installed; a registration needs it.")


def _installExtension() -> None:
    question = "The PyTorch extension is needed. Install it now? Slicer must be restarted afterwards."
    manager = getattr(slicer.app, "extensionsManagerModel", lambda: None)()
    if manager is None or not slicer.util.confirmOkCancelDisplay(question):
        raise RuntimeError("The PyTorch extension is not installed; install it with the Extensions Manager.")
    if not manager.installExtensionFromServer("PyTorch"):
        raise RuntimeError("The PyTorch extension could not be installed; install it with the Extensions Manager.")


def _installRequirements(requirementsFile: str) -> None:
    try:
        import slicer.packaging as packaging  # Slicer 5.12 and newer
    except ImportError:
        packaging = None
    if packaging is not None:
        packaging.pip_ensure(packaging.load_requirements(requirementsFile), requester="ULAERegistration")
    elif slicer.util.confirmOkCancelDisplay(f"These Python packages will be installed: {', '.join(missing())}."):
        slicer.util.pip_install(f'-r "{requirementsFile}"')
