"""Registrations that are cancelled, fail, or lose their scene or panel, at every stage, with real processes."""

from __future__ import annotations

import pytest
import SimpleITK as sitk
import slicer
from standin.clicking import behave, click, finish, running, state_of, wait_for_stage, wait_until
from standin.worker import EXTRAS, STAGES


@pytest.mark.parametrize("stage", STAGES)
def test_cancel_at_every_stage_leaves_the_scene_as_it_was(panel, pair, scene, app, stage):
    panel.enter()
    before = state_of(scene)
    behave(panel, "hang", stage)
    click(panel)
    wait_for_stage(app, panel, stage)
    panel.ui.registerButton.click()
    assert not running(panel)
    assert panel.ui.stageLabel.text == "Cancelled; the scene is as it was."
    assert panel.ui.registerButton.text == "Register"
    app.processEvents()
    assert state_of(scene) == before


@pytest.mark.parametrize("stage", STAGES)
def test_failure_at_every_stage_leaves_the_scene_as_it_was(panel, pair, scene, app, stage):
    panel.enter()
    before = state_of(scene)
    behave(panel, "fail", stage)
    click(panel)
    run = finish(panel, app)
    assert run.state == "failed"
    assert panel.ui.stageLabel.text == run.error
    assert "ZeroDivisionError" in run.error
    assert "Traceback" in panel.ui.logTextEdit.plainText
    assert state_of(scene) == before


@pytest.mark.parametrize("stage", EXTRAS)
def test_the_result_is_in_the_scene_while_steps_and_report_are_still_made(panel, pair, scene, app, stage):
    behave(panel, "pause", stage)
    click(panel)
    run = panel.registerPanel.run
    wait_until(app, lambda: not running(panel))
    assert (run.state, run.complete) == ("done", False)
    assert run.transformNode is panel.ui.outputTransformSelector.currentNode()
    assert panel.ui.stageLabel.text.startswith("Done in ")
    assert not panel.ui.makeStepsButton.enabled
    assert not panel.ui.saveReportButton.enabled
    wait_until(app, lambda: run.complete)
    assert panel.ui.makeStepsButton.enabled
    assert panel.ui.saveReportButton.enabled


@pytest.mark.parametrize("stage", EXTRAS)
def test_steps_and_report_that_fail_take_nothing_from_the_result(panel, pair, scene, app, stage):
    behave(panel, "fail", stage)
    click(panel)
    run = finish(panel, app)
    assert run.state == "done"
    assert run.transformNode is panel.ui.outputTransformSelector.currentNode()
    assert "What comes beside the result could not be made" in panel.ui.logTextEdit.plainText
    assert not panel.ui.saveReportButton.enabled


def test_steps_that_cannot_be_read_take_nothing_from_the_result_and_the_run_ends(panel, pair, app, monkeypatch):
    read = sitk.ReadImage

    def without_memory(path: str, **named):
        if "steps" in path:
            raise MemoryError("no room")
        return read(path, **named)

    monkeypatch.setattr(sitk, "ReadImage", without_memory)
    click(panel)
    run = finish(panel, app)
    assert run.state == "done"
    assert run.complete
    assert not run.folder.exists()
    assert "What comes beside the result could not be made: no room" in panel.ui.logTextEdit.plainText


@pytest.mark.parametrize("close", [False, True])
def test_steps_and_report_are_left_off_where_the_next_registration_starts_or_the_scene_is_closed(
    panel, pair, scene, app, close
):
    behave(panel, "hang", EXTRAS[0])
    click(panel)
    run = panel.registerPanel.run
    wait_until(app, lambda: not running(panel))
    behave(panel)
    if close:
        scene.Clear(0)
    else:
        click(panel)
    assert run.complete
    assert not run.folder.exists()
    if not close:
        assert finish(panel, app).steps


def test_after_a_failure_the_next_registration_works(panel, pair, app):
    behave(panel, "crash", "Network, step 2 of 3")
    click(panel)
    assert finish(panel, app).state == "failed"
    behave(panel)
    click(panel)
    assert finish(panel, app).state == "done"


@pytest.mark.parametrize(
    ("behaviour", "sentence"),
    [("refuse", "no brain"), ("exhaust", "not enough memory"), ("crash", "want of memory"), ("kill", "want of memory")],
)
def test_every_kind_of_failure_is_one_sentence_on_the_panel(panel, pair, app, behaviour, sentence):
    behave(panel, behaviour, "Network, step 2 of 3")
    click(panel)
    finish(panel, app)
    assert sentence in panel.ui.stageLabel.text
    assert "\n" not in panel.ui.stageLabel.text


def test_what_the_worker_says_is_seen_while_it_runs(panel, pair, app, capsys):
    behave(panel, "talk", "Network, step 1 of 3")
    click(panel)
    wait_until(app, lambda: "something to say" in panel.ui.logTextEdit.plainText)
    assert running(panel)
    shown = capsys.readouterr().out  # Slicer has it in its Python console, and so in the application's log
    assert shown.count("ULAE Registration: a library has something to say\n") == 1
    panel.ui.registerButton.click()


def test_a_registration_that_ends_while_another_module_is_shown_is_selected_when_its_own_is_shown_again(
    panel, pair, app
):
    click(panel)
    panel.parent._exit()
    run = finish(panel, app)
    assert run.state == "done", run.error
    panel.parent._enter()
    assert panel.ui.outputTransformSelector.currentNode() is run.transformNode
    assert panel.ui.outputVolumeSelector.currentNode() is run.volumeNode
    assert panel.ui.makeStepsButton.enabled
    assert panel.ui.saveReportButton.enabled


def test_closing_the_scene_while_it_runs_ends_it(panel, pair, scene, app):
    behave(panel, "hang", "Network, step 1 of 3")
    click(panel)
    wait_for_stage(app, panel, "Network, step 1 of 3")
    run = panel.registerPanel.run
    scene.Clear(0)
    assert run.state == "cancelled"
    assert (panel.ui.registerButton.text, panel.ui.registerButton.enabled) == ("Select a fixed volume", False)
    app.processEvents()
    assert scene.GetNumberOfNodesByClass("vtkMRMLGridTransformNode") == 0


def test_deleting_the_inputs_while_it_runs_still_gives_the_result(panel, pair, scene, app):
    click(panel)
    for node in pair:
        scene.RemoveNode(node)
    run = finish(panel, app)
    assert run.state == "done", run.error
    assert run.transformNode.GetName() == "moving to fixed"


def test_reloading_the_module_while_it_runs_ends_it(panel, pair, module, app):
    behave(panel, "hang", "Network, step 1 of 3")
    click(panel)
    wait_for_stage(app, panel, "Network, step 1 of 3")
    run = panel.registerPanel.run
    slicer.modules.ULAERegistrationWidget.onReload()
    assert run.state == "cancelled"
    assert module.widgetRepresentation().self().ui.registerButton.text == "Register"


def test_a_result_for_which_its_folder_has_no_room_comes_into_the_scene_all_the_same(panel, pair, app):
    click(panel)
    folder = panel.registerPanel.run.folder
    (folder / "result").write_text("in the way")  # as a full disk, it keeps the result from its place
    run = finish(panel, app)
    assert run.state == "done", run.error + run.log
    assert run.transformNode is not None
    assert run.volumeNode is not None
    assert [path.name for path in folder.parent.glob("ulae-*")] == []
