"""What is missing is asked for on a click and never before; the panel appears all the same."""

from __future__ import annotations

import sys
import types

import pytest
from standin import pythonqt


@pytest.fixture
def no_torch(panel, monkeypatch):
    """A Slicer without torch."""
    from ULAERegistrationParts import dependencies

    installed = {"torch": False}
    real = dependencies.find_spec
    monkeypatch.setattr(dependencies, "find_spec", lambda name: real(name) if installed.get(name, True) else None)
    return installed


def with_pytorch_utils(monkeypatch, install):
    module = types.ModuleType("PyTorchUtils")

    class PyTorchUtilsLogic:
        def installTorch(self, askConfirmation=False, forceComputationBackend=None, torchVersionRequirement=None):
            assert askConfirmation
            assert torchVersionRequirement == ">=2.2"
            return install()

    module.PyTorchUtilsLogic = PyTorchUtilsLogic
    monkeypatch.setitem(sys.modules, "PyTorchUtils", module)


def test_the_button_says_that_torch_is_missing(panel, pair, no_torch):
    panel.enter()
    button = panel.ui.registerButton
    assert (button.text, button.enabled) == ("Install PyTorch", True)
    assert button.toolTip == "PyTorch is not installed: click to install"


def test_a_click_installs_it_through_the_pytorch_extension(panel, pair, no_torch, monkeypatch):
    asked = []
    with_pytorch_utils(monkeypatch, lambda: asked.append(1) or no_torch.update(torch=True) or "torch")
    panel.enter()
    assert not asked
    panel.ui.registerButton.click()
    assert asked == [1]
    assert panel.ui.registerButton.text == "Register"


def test_whoever_declines_can_go_on_without(panel, pair, no_torch, monkeypatch):
    with_pytorch_utils(monkeypatch, lambda: None)
    panel.enter()
    panel.ui.registerButton.click()
    # tryWithErrorDisplay shows the sentence and, in testing mode, lets it out
    assert [str(error[1]) for error in pythonqt.slot_errors] == ["PyTorch was not installed; a registration needs it."]
    pythonqt.slot_errors.clear()
    assert panel.ui.registerButton.text == "Install PyTorch"


def test_without_the_pytorch_extension_the_user_is_told_where_to_get_it(panel, pair, no_torch, monkeypatch):
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    panel.enter()
    panel.ui.registerButton.click()
    assert "install it with the Extensions Manager" in str(pythonqt.slot_errors.pop()[1])


@pytest.mark.parametrize(
    ("agreed", "succeeds", "sentence"),
    [
        (True, True, "Restart Slicer to complete the installation"),
        (True, False, "could not be installed"),
        (False, True, "is not installed; install it with the Extensions Manager"),
    ],
)
def test_the_pytorch_extension_is_installed_when_the_user_agrees(
    panel, pair, no_torch, monkeypatch, agreed, succeeds, sentence
):
    import slicer

    asked, installed = [], []

    def install(name):
        installed.append(name)
        return succeeds

    manager = types.SimpleNamespace(installExtensionFromServer=install)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    monkeypatch.setattr(type(slicer.app), "extensionsManagerModel", lambda app: manager, raising=False)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda question: asked.append(question) or agreed)
    panel.enter()
    panel.ui.registerButton.click()
    assert sentence in str(pythonqt.slot_errors.pop()[1])
    assert len(asked) == 1
    assert installed == (["PyTorch"] if agreed else [])


def test_other_packages_come_from_the_requirements_file(panel, pair, no_torch, monkeypatch):
    import slicer
    from ULAERegistrationParts import dependencies

    no_torch.update(torch=True, safetensors=False)
    commands = []

    def pip_install(line):
        commands.append(line)
        no_torch.update(safetensors=True)

    monkeypatch.setattr(slicer.util, "pip_install", pip_install)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda question: "safetensors" in question)
    panel.enter()
    assert panel.ui.registerButton.text == "Install safetensors"
    panel.ui.registerButton.click()
    assert len(commands) == 1
    assert commands[0].endswith('requirements.txt"')
    assert dependencies.missing() == []


def test_the_requirements_name_what_is_looked_for(module):
    from pathlib import Path

    from ULAERegistrationParts import dependencies

    lines = (Path(module.path).parent / "Resources" / "requirements.txt").read_text().splitlines()
    named = {line.partition(">")[0] for line in lines if line and not line.startswith("#")}
    assert named | {"torch"} == set(dependencies.PACKAGES)
