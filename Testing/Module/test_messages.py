"""The boxes that the panel shows to a user; in testing mode Slicer only logs what they say."""

from __future__ import annotations

import qt
from standin import pythonqt
from standin.clicking import behave, click, finish


def test_a_registration_that_fails_shows_its_sentence_once_and_the_log_as_details(panel, pair, app, boxes):
    behave(panel, "fail", "Network, step 1 of 3")
    click(panel)
    run = finish(panel, app)
    assert [(box["icon"], box["text"]) for box in boxes] == [(qt.QMessageBox.Critical, run.error)]
    assert "Traceback" in boxes[0]["detailedText"]


def test_a_registration_that_does_not_begin_says_why(panel, pair, boxes):
    panel.enter()
    panel.ui.outputVolumeSelector.setCurrentNode(pair[1])
    click(panel)
    assert [box["text"] for box in boxes] == [panel.ui.stageLabel.text]
    assert "would overwrite an input" in boxes[0]["text"]


def test_a_map_that_cannot_be_made_says_what_and_why_and_gives_the_cursor_back(done, boxes, monkeypatch):
    from ULAERegistrationParts import maps

    def fail(*_):
        raise RuntimeError("There is no room.")

    monkeypatch.setattr(maps, "jacobianMap", fail)
    done.ui.jacobianButton.click()
    assert [box["text"] for box in boxes] == ["The Jacobian map could not be made.\n\nThere is no room."]
    assert qt.QApplication.overrideCursor() is None
    assert pythonqt.slot_errors.pop()[0] is RuntimeError  # Slicer lets it go on into the console
