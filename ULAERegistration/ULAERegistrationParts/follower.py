"""Looks after a registration that nobody waits for, and tells who started it how it goes on."""

from __future__ import annotations

import qt
import slicer


class Follower:
    """Asks a run again and again how far it is, until nothing more is to come.

    The timer's connection holds the follower, and that the run with all its fields, for as long as the timer lives:
    PythonQt's objects take no part in Python's search for cycles. So it is deleted at the end.

    Args:
        run: the registration.
        milliseconds: from one question to the next.
        progress: called with the run whenever it has moved on; this and the others may be None.
        finished: called with it once, when its result is in the scene or it has ended without one.
        extras: called with it when its steps and its report have come after that.
        followers: the followers of all such runs, by run; this one is in it until the end.
    """

    def __init__(self, run, milliseconds: int, progress, finished, extras, followers: dict):
        self._run, self._followers = run, followers
        self._progress, self._finished, self._extras = progress, finished, extras
        self._told = False  # that it is finished
        # Without a parent it would end with the last variable, within its own signal.
        self._timer = qt.QTimer(slicer.app)
        self._timer.setInterval(milliseconds)
        self._timer.connect("timeout()", self.look)
        followers[run] = self
        self._timer.start()

    def look(self) -> None:
        """Asks how far the run is, and tells it."""
        endedBefore = self._run.complete  # by who cancelled it or closed its scene: no steps are to come
        state = self._run.poll()
        if self._run.complete:
            self._stop()
        if state == "running":
            self._tell(self._progress)
        elif not self._told:
            self._told = True
            self._tell(self._finished)
        elif self._run.complete and not endedBefore:
            self._tell(self._extras)

    def _tell(self, whom) -> None:
        if whom is not None:
            whom(self._run)

    def _stop(self) -> None:
        if self._followers.pop(self._run, None) is not None:
            self._timer.stop()
            self._timer.deleteLater()
