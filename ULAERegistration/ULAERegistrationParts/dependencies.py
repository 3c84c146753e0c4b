"""What Slicer's Python lacks for a registration, and how it gets there: only when the user clicks and agrees."""

from __future__ import annotations

import operator
import re
import sys
from importlib import metadata
from pathlib import Path

import slicer
from slicer.i18n import tr as _

PLATFORM = sys.platform
NAMES = {"torch": "PyTorch"}  # as users know them, where that differs from the distribution's name
REQUIREMENTS = Path(__file__).parents[1] / "Resources" / "requirements.txt"


def requirements() -> dict[str, str]:
    """The distributions that a registration needs, and the versions that will do."""
    # torch 2.13 cannot be loaded by Slicer's Python on Windows; 2.2 is the newest there is for Slicer on macOS.
    found = {"torch": ">=2.2,<2.13" if PLATFORM == "win32" else ">=2.2"}
    for line in REQUIREMENTS.read_text(encoding="utf-8").splitlines():
        if line and not line.startswith("#"):
            name = re.match(r"[\w.-]+", line)[0]
            found[name] = line[len(name) :]
    return found


def missing() -> list[str]:
    """Names of what a registration needs and is not installed, or in a version that will not do.

    Nothing is imported. What counts is the record of the installed distribution: the folder of a package can be found,
    and its import still fail, after an installation that broke off.
    """
    return [NAMES.get(name, name) for name in _missing()]


def install() -> str:
    """Installs what a registration needs: torch through the PyTorch extension, the rest by pip, each after asking.

    :return: one sentence on what the user has to do next, empty where all is there.
    :raises RuntimeError: one sentence on what went wrong.
    """
    if "torch" in _missing():
        todo = _installTorch()
        if todo:
            return todo
    names = _missing()
    if names and not _pip(names):
        return _("{names} was not installed; a registration needs it.").format(names=", ".join(missing()))
    if missing():
        sentence = _("Still not installed: {names}; install it, or restart Slicer and try again.")
        raise RuntimeError(sentence.format(names=", ".join(missing())))
    return ""


def _missing() -> list[str]:
    return [name for name, versions in requirements().items() if not _fits(name, versions)]


def _fits(name: str, versions: str) -> bool:
    """Whether a distribution is installed in one of the versions asked for, such as ">=2.2,<2.13"."""
    try:
        version = metadata.version(name)
    except metadata.PackageNotFoundError:
        return False
    if version is None:  # its installation or removal broke off
        return False
    installed = _release(version)
    bounds = re.findall(r"(>=|<|==)([\d.]+)", versions)
    holds = {">=": operator.ge, "<": operator.lt, "==": operator.eq}
    return all(holds[sign](installed, _release(bound)) for sign, bound in bounds)


def _release(version: str) -> tuple[int, ...]:
    """The numbers a version begins with: 2.10.0+cpu is (2, 10, 0)."""
    return tuple(int(number) for number in re.match(r"\d+(?:\.\d+)*", version)[0].split("."))


def _installTorch() -> str:
    try:
        import PyTorchUtils
    except ModuleNotFoundError:
        return _installExtension()
    # The right build for this computer's graphics card is PyTorchUtils' business.
    try:
        torch = PyTorchUtils.PyTorchUtilsLogic().installTorch(
            askConfirmation=True, torchVersionRequirement=requirements()["torch"]
        )
    except (ImportError, OSError) as error:  # it was installed, and its import fails
        sentence = _(
            "PyTorch cannot be loaded ({error}); uninstall it in the module PyTorch Utils, restart Slicer and install"
            " it again."
        )
        raise RuntimeError(sentence.format(error=error)) from error
    return _("PyTorch was not installed; a registration needs it.") if torch is None else ""


def _installExtension() -> str:
    """Installs the PyTorch extension. Slicer's model asks the user by itself, and shows why it could not."""
    manager = getattr(slicer.app, "extensionsManagerModel", lambda: None)()
    # Without the restart that Slicer offers by default: the scene may not be saved yet.
    if manager is not None and manager.installExtensionFromServer("PyTorch", False):
        return _("The PyTorch extension is installed. Restart Slicer, then click this button again to install PyTorch.")
    return _("The PyTorch extension was not installed; install it with the Extensions Manager, then restart Slicer.")


def _pip(names: list[str]) -> bool:
    """Installs distributions after asking; says whether the user has agreed."""
    wanted = [name + requirements()[name] for name in names]
    question = _("These Python packages will be installed: {names}.").format(names=", ".join(wanted))
    if not slicer.util.confirmOkCancelDisplay(question):
        return False
    try:
        import slicer.packaging as packaging  # Slicer 5.12 and newer
    except ImportError:
        packaging = None
    if packaging is None:
        slicer.util.pip_install(wanted)
    else:  # without its own question, after which a refusal is an error
        packaging.pip_ensure(wanted, requester="ULAERegistration", prompt_install=False)
    return True
