"""What is missing is asked for on a click and never before; the panel appears all the same."""

from __future__ import annotations

import logging
import sys
import types
from importlib import metadata
from importlib.util import find_spec

import ctk
import pytest
import qt
import slicer
from standin import extensions, pythonqt
from standin.clicking import finish


@pytest.fixture
def installed(panel, monkeypatch):
    """What Python says it has installed: names to versions, None for what is not there; real where nothing is said."""
    told = {}
    real = metadata.version

    def version(name: str) -> str:
        if told.get(name, "") is None:
            raise metadata.PackageNotFoundError(name)
        return told.get(name) or real(name)

    monkeypatch.setattr(metadata, "version", version)
    return told


@pytest.fixture
def no_torch(installed):
    """A Slicer whose torch was installed by halves: a folder of its name can be found, and nothing else of it."""
    assert find_spec("torch") is not None
    installed["torch"] = None
    return installed


def with_pytorch_utils(monkeypatch, install, requirement=">=2.2"):
    module = types.ModuleType("PyTorchUtils")

    class PyTorchUtilsLogic:
        def installTorch(
            self,
            askConfirmation=False,
            forceComputationBackend=None,
            torchVersionRequirement=None,
            torchvisionVersionRequirement=None,
        ):
            assert askConfirmation
            assert torchVersionRequirement == requirement
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
    with_pytorch_utils(monkeypatch, lambda: asked.append(1) or no_torch.update(torch="2.12.1") or "torch")
    panel.enter()
    assert not asked
    panel.ui.registerButton.click()
    assert asked == [1]
    assert panel.ui.registerButton.text == "Register"


def test_windows_gets_a_torch_that_can_be_loaded_there(panel, pair, installed, monkeypatch):
    from ULAERegistrationParts import dependencies

    monkeypatch.setattr(dependencies, "PLATFORM", "win32")
    with_pytorch_utils(monkeypatch, lambda: installed.update(torch="2.12.1+cu128") or "torch", ">=2.2,<2.13")
    installed["torch"] = "2.13.0+cu128"
    panel.enter()
    assert panel.ui.registerButton.text == "Install PyTorch"
    panel.ui.registerButton.click()
    assert panel.ui.registerButton.text == "Register"


@pytest.mark.parametrize(("version", "fits"), [("2.2.0", True), ("2.10.0a0", True), ("2.1.9", False), ("1.13", False)])
def test_a_torch_that_is_too_old_counts_as_missing(panel, installed, version, fits):
    from ULAERegistrationParts import dependencies

    installed["torch"] = version
    assert (dependencies.missing() == []) == fits


def test_a_package_of_which_half_is_left_counts_as_missing(panel, monkeypatch):
    """Python says None of a folder of metadata without its file."""
    from ULAERegistrationParts import dependencies

    monkeypatch.setattr(metadata, "version", lambda name: None)
    assert "PyTorch" in dependencies.missing()


def test_a_torch_that_cannot_be_loaded_after_its_installation_is_a_sentence(panel, pair, no_torch, monkeypatch):
    def install():
        raise OSError("[WinError 1114] c10.dll")

    with_pytorch_utils(monkeypatch, install)
    panel.enter()
    panel.ui.registerButton.click()
    assert "in the module PyTorch Utils" in str(pythonqt.slot_errors.pop()[1])


def test_whoever_declines_is_told_so_and_can_go_on_without(panel, pair, no_torch, monkeypatch, caplog):
    with_pytorch_utils(monkeypatch, lambda: None)
    panel.enter()
    with caplog.at_level(logging.INFO):
        panel.ui.registerButton.click()
    assert told(caplog) == ["PyTorch was not installed; a registration needs it."]
    assert panel.ui.registerButton.text == "Install PyTorch"


def told(caplog) -> list[str]:
    """What was shown as information; errors would be in `pythonqt.slot_errors`."""
    lines = [record.message for record in caplog.records if record.levelno == logging.INFO]
    return [line for line in lines if not line.startswith("Testing mode")]


@pytest.mark.parametrize(
    ("agrees", "works", "sentence"),
    [
        (True, True, "The PyTorch extension is installed. Restart Slicer"),
        (True, False, "The PyTorch extension was not installed"),
        (False, True, "The PyTorch extension was not installed"),
    ],
)
def test_the_pytorch_extension_is_installed_when_the_user_agrees(
    panel, pair, no_torch, monkeypatch, caplog, agrees, works, sentence
):
    manager = extensions.qSlicerExtensionsManagerModel()
    manager._agrees, manager._works = agrees, works
    monkeypatch.setattr(slicer.app, "_extensions", manager)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda text: pytest.fail(f"asked twice: {text}"))
    panel.enter()
    with caplog.at_level(logging.INFO):
        panel.ui.registerButton.click()
    assert [text for text in told(caplog) if text.startswith(sentence)]
    assert manager._asked == ["Do you want to install 'PyTorch' now?"]
    assert manager._restarts == 0  # the scene may not be saved yet
    assert manager._installed == (["PyTorch"] if agrees and works else [])


def test_a_slicer_without_extensions_manager_says_what_to_do(panel, pair, no_torch, monkeypatch, caplog):
    monkeypatch.setattr(slicer.app, "_extensions", None)
    monkeypatch.setitem(sys.modules, "PyTorchUtils", None)
    panel.enter()
    with caplog.at_level(logging.INFO):
        panel.ui.registerButton.click()
    assert "install it with the Extensions Manager" in told(caplog)[-1]


def test_other_packages_come_from_the_requirements_file(panel, pair, no_torch, monkeypatch):
    from ULAERegistrationParts import dependencies

    no_torch.update(torch="2.12.1", safetensors=None)
    commands = []

    def pip_install(line):
        commands.append(line)
        no_torch.update(safetensors="0.6")

    monkeypatch.setattr(slicer.util, "pip_install", pip_install)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda question: "safetensors" in question)
    panel.enter()
    assert panel.ui.registerButton.text == "Install safetensors"
    panel.ui.registerButton.click()
    assert commands == [["safetensors>=0.4"]]
    assert dependencies.missing() == []


@pytest.fixture(params=["5.10", "5.12"])
def pip(request, monkeypatch):
    """What Slicer of two versions has to install packages with; gives the packages it was told to install."""
    commands = []
    monkeypatch.setattr(slicer.util, "pip_install", commands.append)
    monkeypatch.delitem(sys.modules, "slicer.packaging", raising=False)
    if request.param == "5.12":
        packaging = types.ModuleType("slicer.packaging")

        def pip_ensure(requirements, prompt_install=True, requester=None):
            if prompt_install and not slicer.util.confirmOkCancelDisplay("Continue?"):
                raise RuntimeError("User declined package installation")
            commands.append(requirements)

        packaging.pip_ensure = pip_ensure
        monkeypatch.setitem(sys.modules, "slicer.packaging", packaging)
        monkeypatch.setattr(slicer, "packaging", packaging, raising=False)
    return commands


@pytest.mark.parametrize("agrees", [True, False])
def test_the_user_is_asked_once_for_other_packages_and_may_decline(
    panel, pair, no_torch, pip, monkeypatch, caplog, agrees
):
    no_torch.update(torch="2.12.1", safetensors=None)
    questions = []

    def answer(question: str) -> bool:
        questions.append(question)
        no_torch.update(safetensors="0.6" if agrees else None)
        return agrees

    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", answer)
    panel.enter()
    with caplog.at_level(logging.INFO):
        panel.ui.registerButton.click()
    assert questions == ["These Python packages will be installed: safetensors>=0.4."]
    assert pip == ([["safetensors>=0.4"]] if agrees else [])
    assert told(caplog) == ([] if agrees else ["safetensors was not installed; a registration needs it."])
    assert panel.ui.registerButton.text == ("Register" if agrees else "Install safetensors")


def test_a_question_that_is_declined_is_followed_by_one_sentence_and_no_error(panel, pair, no_torch, pip, boxes):
    no_torch.update(torch="2.12.1", safetensors=None)
    ctk.ctkMessageBox.answers.append(qt.QMessageBox.Cancel)
    panel.enter()
    panel.ui.registerButton.click()
    assert [(box["icon"], box["text"]) for box in boxes] == [
        (qt.QMessageBox.Question, "These Python packages will be installed: safetensors>=0.4."),
        (qt.QMessageBox.Information, "safetensors was not installed; a registration needs it."),
    ]


def test_after_an_installation_by_halves_the_button_names_what_is_still_missing(panel, pair, no_torch, monkeypatch):
    no_torch.update(safetensors=None)
    with_pytorch_utils(monkeypatch, lambda: no_torch.update(torch="2.12.1") or "torch")

    def pip_install(line):
        raise RuntimeError("no network")

    monkeypatch.setattr(slicer.util, "pip_install", pip_install)
    monkeypatch.setattr(slicer.util, "confirmOkCancelDisplay", lambda question: True)
    panel.enter()
    assert panel.ui.registerButton.text == "Install PyTorch, safetensors"
    panel.ui.registerButton.click()
    assert "no network" in str(pythonqt.slot_errors.pop()[1])
    assert panel.ui.registerButton.text == "Install safetensors"


def test_matplotlib_is_not_asked_for_as_a_report_can_be_made_without_it(panel, pair, installed, app):
    installed["matplotlib"] = None
    panel.enter()
    assert panel.ui.registerButton.text == "Register"
    panel.ui.registerButton.click()
    run = finish(panel, app)
    assert run.state == "done"
    assert run.report
    assert panel.ui.saveReportButton.enabled
