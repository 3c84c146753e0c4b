"""The Registration section: what a preset costs, the button that registers and cancels, progress and log."""

from __future__ import annotations

import os

import qt
import slicer
from slicer.i18n import tr as _

from . import dependencies, licence
from .outputs import Outputs, qualityOf, referenced, resultsOf
from .run import sentenceOf

# Seconds on two processors, measured; after the first run here the panel tells what that one took.
TYPICAL_SECONDS = {"fast": 20, "accurate": 30, "smooth": 35}
MOST_PROCESSORS = 8  # more of them help little
SELECT_FIXED = _("Select a fixed volume")  # on the button; also for the self test, which has no translation of its own


def explain(box, *texts) -> None:
    """Gives each entry of a combo box its tooltip."""
    for index, text in enumerate(texts):
        box.setItemData(index, text, qt.Qt.ToolTipRole)


class RegisterPanel:
    """Starts, shows and ends one registration at a time.

    Attributes:
        run: the last one, or None.

    Args:
        ui: the widgets by name.
        logic: the module's logic.
        binding: the panel's choices.
        done: called with a run that went well, when its result is in the scene.
        extras: called with it when its steps and report have come.
    """

    def __init__(self, ui, logic, binding, done, extras):
        self.run = None
        self._ui, self._logic, self._binding = ui, logic, binding
        self._done, self._extras = done, extras
        ui.registerButton.connect("clicked()", self.onButton)
        explain(
            ui.presetComboBox,
            _("The network alone: seconds, for a first look or for many pairs. Hardly folds."),
            _("The network, then its answer is refined on this pair: matches most. The choice for most pairs."),
            _("Refined as well, and nothing folds: for volume changes and wherever the map must be invertible."),
        )
        explain(
            ui.brainComboBox,
            _("Find the brain where a volume shows more than it; the mask comes into the scene, to be corrected."),
            _("Refuse a volume that shows more than the brain and has no mask."),
            _("Look for no brain: for volumes that show the brain alone, even if they do not look like it."),
        )
        explain(
            ui.contrastComboBox,
            _("Compare the volumes after the alignment and choose one of the two other ways."),
            _("Take both volumes for one contrast; the presets accurate and smooth then refine the result."),
            _("Give both the intensities of T1 first, as for T1 with T2; the result is not refined, nor called good."),
        )
        ui.licenceCheckBox.connect("toggled(bool)", self._onLicence)
        ui.progressBar.setVisible(False)
        ui.stageLabel.setVisible(False)

    def showDropped(self, nodes) -> None:
        """Says what is no longer chosen, as it may lie in a section that is closed."""
        names = ", ".join(node.GetName() for node in nodes)
        self._ui.stageLabel.setVisible(True)
        self._ui.stageLabel.text = _("No longer chosen, as the volume is another one: {names}.").format(names=names)

    def isRunning(self) -> bool:
        return self.run is not None and self.run.state == "running"

    def forget(self) -> None:
        """The scene of the last run is gone."""
        self.run = None
        self._ui.logTextEdit.setPlainText("")
        self._ui.stageLabel.setVisible(False)
        self.update()

    def update(self) -> None:
        """Brings button, bar and cost line in line with the choices and with what runs."""
        ui, running = self._ui, self.isRunning()
        ui.licenceCheckBox.checked = licence.accepted()  # by a script, or in another window, as well
        state = (_("Cancel"), _("End it now; the scene stays as it was."), True) if running else self._readiness()
        ui.registerButton.text, ui.registerButton.toolTip, ui.registerButton.enabled = state
        result = ui.outputTransformSelector.currentNode()
        ui.shapeButton.setVisible(qualityOf(result).get("rigid_alone", False))
        ui.shapeButton.enabled = not running and state[-1] and not dependencies.missing() and self._isOfInputs(result)
        ui.progressBar.setVisible(running)
        ui.outputVolumeSelector.enabled = ui.warpedCheckBox.checked
        ui.costLabel.text = self._costLine()

    def onButton(self) -> None:
        """Registers, cancels, or installs what is missing: what the button says."""
        try:
            if self.isRunning():
                self._logic.cancel(self.run)  # which calls _onFinished
            elif dependencies.missing():
                self._install()
            else:
                self._start()
        finally:  # Slicer's error display lets the error go on, and a part may have been installed
            self.update()

    def registerShape(self) -> None:
        """Registers once with an affine alignment and the network; the choice under Advanced stays as it is."""
        self._start(alignment="affine")
        self.update()

    def _install(self) -> None:
        with slicer.util.tryWithErrorDisplay(_("The installation was not completed.")):
            todo = dependencies.install()
            if todo:
                slicer.util.infoDisplay(todo)

    def _onLicence(self, accept: bool) -> None:
        licence.setAccepted(accept)
        self.update()

    def _readiness(self):
        """The button's text and tooltip, and whether it can be clicked: what is missing, if anything."""
        fixed, moving = self._ui.fixedVolumeSelector.currentNode(), self._ui.movingVolumeSelector.currentNode()
        if fixed is None:
            return SELECT_FIXED, _("Choose the brain that stays where it is, under Inputs."), False
        if moving is None:
            return _("Select a moving volume"), _("Choose the brain that is carried along, under Inputs."), False
        if fixed is moving:
            return _("Select two different volumes"), _("Fixed and moving volume are the same."), False
        names = ", ".join(dependencies.missing())
        if names:
            toolTip = _("{names} is not installed: click to install").format(names=names)
            return _("Install {names}").format(names=names), toolTip, True
        if not licence.accepted():
            return _("Accept the licence"), _("Tick the box above; it is asked only once."), False
        return _("Register"), _("Carry the moving volume to the fixed one."), True

    def _isOfInputs(self, result) -> bool:
        """Whether a result is of the two volumes that are chosen."""
        ui = self._ui
        selectors = {"fixed": ui.fixedVolumeSelector, "moving": ui.movingVolumeSelector}
        return result is not None and all(
            selector.currentNode() is referenced(result, which) for which, selector in selectors.items()
        )

    def _costLine(self) -> str:
        preset = self._ui.presetComboBox.currentText.lower()
        what = {
            "fast": _("The network alone."),
            "accurate": _("The network, then refinement of this pair."),
            "smooth": _("As accurate, and nothing folds."),
        }[preset]
        last = slicer.util.settingsValue(self._timeKey(), 0.0, float)
        if last:
            return what + " " + _("Took {seconds:.0f} s here last time.").format(seconds=last)
        if self._ui.deviceComboBox.currentText not in ("auto", "cpu"):
            return what + " " + _("Not timed here yet.")
        processors = os.cpu_count() or 2
        seconds = TYPICAL_SECONDS[preset] * 2 / min(processors, MOST_PROCESSORS)
        return f"{what} " + _("About {seconds:.0f} s with {processors} processors; not timed here yet.").format(
            seconds=seconds, processors=processors
        )

    def _timeKey(self) -> str:
        return f"ULAERegistration/Seconds-{self._ui.presetComboBox.currentText}-{self._ui.deviceComboBox.currentText}"

    def _start(self, **changes) -> None:
        ui = self._ui
        self._binding.toNode()  # CTK's path field says nothing while a path of another kind is typed
        ui.modelPathEdit.addCurrentPathToHistory()
        self._show(_("Preparing"), 0.0)
        if self.run is not None:
            self.run.cancel()  # of the last one, steps and report may still be made
        settings = {**self._binding.settings(), **changes}
        self._startedAs = self._timeKey()  # what is chosen when it ends may be another preset
        transform, volume = ui.outputTransformSelector.currentNode(), ui.outputVolumeSelector.currentNode()
        if qualityOf(transform) and not self._isOfInputs(transform):  # another pair's result is kept
            transform = None
        if volume is not None and any(result is not transform for result in resultsOf(volume)):  # so is its volume
            volume = None
        try:
            outputs = Outputs(
                transform,
                volume,
                ui.warpedCheckBox.checked,
                self._binding.carried(),
                steps=True,
                report=True,
                temporaryFiles=ui.keepFilesCheckBox.checked,
            )
            self.run = self._logic.register(
                ui.fixedVolumeSelector.currentNode(),
                ui.movingVolumeSelector.currentNode(),
                fixedMask=ui.fixedMaskSelector.currentNode(),
                movingMask=ui.movingMaskSelector.currentNode(),
                initialTransform=ui.initialTransformSelector.currentNode(),
                outputs=outputs,
                waitForCompletion=False,
                progress=self._onProgress,
                finished=self._onFinished,
                extras=self._onExtras,
                **settings,
            )
        except Exception as error:
            self.run = None
            self._fail(sentenceOf(error))

    def _onProgress(self, run) -> None:
        self._show(run.message, run.fraction)
        if self._ui.logTextEdit.plainText != run.log:
            self._ui.logTextEdit.setPlainText(run.log)

    def _onFinished(self, run) -> None:
        """The result is there, or the run has ended in another way."""
        self._showLog(run)
        if run.state == "done":
            self._show(" ".join([_("Done in {seconds:.0f} s.").format(seconds=run.seconds), *run.notes]), 1.0)
            if "network" in run.quality["seconds"]:  # a run without it tells nothing of the next one
                qt.QSettings().setValue(self._startedAs, run.seconds)
            self._done(run)
        elif run.state == "cancelled":
            self._show(_("Cancelled; the scene is as it was."), 0.0)
        else:
            self._fail(run.error, run.log)
        self.update()

    def _onExtras(self, run) -> None:
        self._showLog(run)
        self._extras(run)

    def _showLog(self, run) -> None:
        lines = [run.log, *run.notes]
        if run.keepsFiles:
            lines.append(_("Temporary files: {folder}").format(folder=run.folder))
        self._ui.logTextEdit.setPlainText("\n".join(filter(None, lines)))

    def _show(self, message: str, fraction: float) -> None:
        self._ui.stageLabel.setVisible(True)
        self._ui.stageLabel.text = message
        self._ui.progressBar.value = round(100 * fraction)

    def _fail(self, sentence: str, details: str = "") -> None:
        self._show(sentence, 0.0)
        slicer.util.errorDisplay(sentence, detailedText=details or sentence)
