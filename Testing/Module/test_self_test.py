"""The module's own test, as far as it needs no real registration (see test_real_runs.py for the whole of it)."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest
import slicer
from standin import i18n
from standin.clicking import behave


def translated(text: str) -> str:
    """A translation that differs from file to file, as each file is a context of its own in Slicer."""
    return f"{Path(sys._getframe(1).f_code.co_filename).stem}: {text}"


@pytest.fixture
def translated_panel(panel, module, monkeypatch):
    """The panel in another language, and its module in English again afterwards."""
    with monkeypatch.context() as language:
        language.setattr(i18n, "tr", translated)
        slicer.modules.ULAERegistrationWidget.onReload()
        yield module.widgetRepresentation().self()
    slicer.modules.ULAERegistrationWidget.onReload()


def run_self_test(name: str) -> None:
    test = sys.modules["ULAERegistration"].ULAERegistrationTest()
    test.setUp()
    getattr(test, name)()
    test.tearDown()


def test_the_self_test_passes_in_another_language(translated_panel):
    assert translated_panel.ui.registerButton.text == "registerPanel: Select a fixed volume"
    run_self_test("test_panelSaysWhatIsMissing")
    behave(translated_panel, "hang", "Network, step 1 of 3")
    run_self_test("test_cancelLeavesTheSceneAsItWas")


def test_a_cancel_that_takes_as_long_as_it_may_on_windows_passes(panel, monkeypatch):
    """There, ending the process takes up to 4 s, and removing its folder up to 3 s."""
    from ULAERegistrationParts.run import Run

    clock, cancel = time.monotonic, Run.cancel

    def cancel_slowly(run) -> None:
        cancel(run)
        monkeypatch.setattr(time, "monotonic", lambda: clock() + 7)

    monkeypatch.setattr(Run, "cancel", cancel_slowly)
    behave(panel, "hang", "Network, step 1 of 3")
    run_self_test("test_cancelLeavesTheSceneAsItWas")
