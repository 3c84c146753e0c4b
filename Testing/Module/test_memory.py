"""Nothing of a registration outlives the next one; in Slicer what hangs on a live Qt object is never collected."""

from __future__ import annotations

import weakref

import qt
import slicer
from standin import pythonqt
from standin.clicking import click, finish, let_go, wait_until


def register(panel, app):
    click(panel)
    assert finish(panel, app).state == "done"
    return weakref.ref(panel.registerPanel.run)


def test_a_slot_lives_as_long_as_the_object_it_is_connected_to(app):
    class Thing:
        def __init__(self, timer):
            self.timer = timer
            timer.connect("timeout()", self.look)

        def look(self):
            pass

    timer = qt.QTimer()
    thing = weakref.ref(Thing(timer))
    let_go()
    assert thing() is not None  # a cycle through a connection
    timer.deleteLater()
    del timer
    let_go()
    assert thing() is None


def test_a_run_dies_with_the_next_one(panel, pair, app):
    first = register(panel, app)
    register(panel, app)
    let_go()
    assert first() is None


def test_a_cancelled_run_dies_when_the_scene_is_closed(panel, pair, scene, app):
    click(panel)
    run = weakref.ref(panel.registerPanel.run)
    scene.Clear(0)
    let_go()
    assert run() is None


def test_no_timer_is_left_of_a_run(panel, pair, app):
    def timers() -> int:
        let_go()
        return len([one for one in pythonqt.connected() if isinstance(one, qt.QTimer)])

    before = timers()
    register(panel, app)
    assert timers() == before


def test_a_run_of_the_logic_that_is_not_waited_for_dies_at_its_end(module, scene, pair, app):
    from standin.clicking import worker_command

    import ULAERegistration

    logic, ended = ULAERegistration.ULAERegistrationLogic(), []
    logic.workerCommand = worker_command()

    def finished(run):
        ended.append(run.state)

    run = logic.register(*pair, acceptLicence=True, waitForCompletion=False, finished=finished)
    wait_until(app, lambda: run.complete)
    assert ended == ["done"]
    run = weakref.ref(run)
    let_go()
    assert run() is None
    assert slicer.mrmlScene.GetNumberOfNodesByClass("vtkMRMLGridTransformNode") == 1
