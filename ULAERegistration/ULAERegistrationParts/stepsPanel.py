"""The Steps section: a slider from moving to fixed through the three steps, their flows, and what each one changed."""

from __future__ import annotations

import qt
import slicer
import vtk
from slicer.i18n import tr as _

from .outputs import derived, referenced
from .stages import FIXED, STAGES, Stages, removeSteps

FLICKER_MILLISECONDS = 450
FLOWS = {"own": "flow", "cumulative": "total"}


class StepsPanel:
    """Shows the steps of the current result.

    Args:
        ui: the widgets by name.
        views: where it shows volumes.
    """

    def __init__(self, ui, views):
        self._ui, self._views = ui, views
        self._transformNode = None
        self._fields: dict = {}
        self._timer = qt.QTimer(slicer.app)
        self._timer.setInterval(FLICKER_MILLISECONDS)
        self._timer.connect("timeout()", self._flick)
        self._hidden = False
        self._browser = self._browserTag = None
        ui.makeStepsButton.connect("clicked()", self.makeSteps)
        ui.stageSlider.connect("valueChanged(int)", self._onStage)
        ui.opacitySlider.connect("valueChanged(double)", self._onOpacity)
        ui.flickerButton.connect("toggled(bool)", self._onFlicker)
        for box in (ui.flowComboBox, ui.modeComboBox):
            box.connect("currentIndexChanged(int)", self._onFlow)
        for box in (ui.slicesCheckBox, ui.threeDCheckBox):
            box.connect("toggled(bool)", self._onFlow)
        ui.differenceComboBox.connect("currentIndexChanged(int)", self._onDifference)
        self.setResult(None, {})

    def setResult(self, transformNode, fields: dict) -> None:
        """Chooses the result whose steps are shown.

        :param fields: its step fields, empty where they are no longer at hand; see `Stages.make`.
        """
        self._transformNode = transformNode
        self._ui.flickerButton.checked = False
        self.setFields(fields)

    def setFields(self, fields: dict) -> None:
        """Takes the step fields of the result, which may come after it."""
        self._fields = fields
        self._update()

    def cleanup(self) -> None:
        """Stops what runs by itself, for good."""
        self._timer.stop()
        self._timer.deleteLater()
        self._watch(None)
        self._transformNode, self._fields = None, {}

    def makeSteps(self) -> None:
        """Puts the steps into the scene, or takes them out again."""
        if self._stages() is not None:
            removeSteps(self._transformNode)
            self._update()
            return
        with slicer.util.tryWithErrorDisplay(_("The steps could not be shown."), waitCursor=True):
            stages = Stages.make(self._transformNode, self._fields)
        self._update()
        self._views.showLayers(
            background=referenced(self._transformNode, "fixed"),
            foreground=stages.volume,
            foregroundOpacity=self._ui.opacitySlider.value,
            fit=True,
        )
        self._ui.stageSlider.value = FIXED - 1
        self._onStage()

    def _stages(self) -> Stages | None:
        return Stages.find(self._transformNode)

    def _watch(self, browser) -> None:
        """Follows a sequence browser, which Slicer's toolbar and other modules move as well; None follows nothing."""
        if browser is self._browser:
            return
        if self._browser is not None:
            self._browser.RemoveObserver(self._browserTag)
        self._browser = browser
        if browser is not None:
            self._browserTag = browser.AddObserver(vtk.vtkCommand.ModifiedEvent, self._onBrowser)
            slicer.modules.sequences.setToolBarActiveBrowserNode(browser)

    def _onBrowser(self, browser, event) -> None:
        item = browser.GetSelectedItemNumber()
        if 0 <= item < FIXED and item != min(int(self._ui.stageSlider.value), FIXED - 1):
            self._ui.stageSlider.value = item

    def _update(self) -> None:
        """Brings texts and what can be clicked in line with what there is."""
        ui, stages = self._ui, self._stages()
        ui.makeStepsButton.enabled = stages is not None or bool(self._fields)
        ui.makeStepsButton.text = _("Remove the steps from the scene") if stages else _("Show the steps of this result")
        if stages is not None:
            toolTip = _("Takes the sequence and the maps of the steps out of the scene again; the result stays.")
        elif self._fields:
            toolTip = _("Puts the three steps into the scene as a sequence; the fields are large.")
        else:
            toolTip = _(
                "Register first; the steps come some seconds after the result and are kept until the next registration "
                "or until the scene is closed."
            )
        ui.makeStepsButton.toolTip = toolTip
        controls = (ui.stageSlider, ui.opacitySlider, ui.flickerButton, ui.flowComboBox, ui.modeComboBox)
        for widget in (*controls, ui.slicesCheckBox, ui.threeDCheckBox, ui.differenceComboBox):
            widget.enabled = stages is not None
        if stages is None:
            ui.differenceComboBox.setCurrentIndex(0)
            ui.flickerButton.checked = False
        else:
            blocked = ui.stageSlider.blockSignals(True)  # show what is there, move nothing
            ui.stageSlider.value = stages.current
            ui.stageSlider.blockSignals(blocked)
        self._watch(stages.browser if stages is not None else None)
        self._nameStage()

    def _nameStage(self) -> None:
        current = int(self._ui.stageSlider.value) if self._stages() else None
        names = [f"<b>{name}</b>" if stage == current else name for stage, name in enumerate(STAGES)]
        self._ui.stageNameLabel.text = " &nbsp;–&nbsp; ".join(names)

    def _onStage(self, value: int = 0) -> None:
        stages = self._stages()
        self._nameStage()
        if stages is None:
            return
        self._ui.differenceComboBox.setCurrentIndex(0)
        stages.goTo(int(self._ui.stageSlider.value))
        self._onFlow()
        self._onOpacity()

    def _onOpacity(self, value: float = 0.0) -> None:
        if self._stages() is None:
            return
        fixedOnly = int(self._ui.stageSlider.value) == FIXED or self._hidden
        self._views.showLayers(foregroundOpacity=0.0 if fixedOnly else float(self._ui.opacitySlider.value))

    def _onFlicker(self, on: bool) -> None:
        self._hidden = False
        self._timer.start() if on else self._timer.stop()
        self._onOpacity()

    def _flick(self) -> None:
        self._hidden = not self._hidden
        self._onOpacity()

    def _onFlow(self, value: int = 0) -> None:
        stages = self._stages()
        if stages is None:
            return
        ui = self._ui
        kind, mode = FLOWS[ui.flowComboBox.currentText], ui.modeComboBox.currentText
        atEnd = int(ui.stageSlider.value) == FIXED
        stages.showFlow(kind, "none" if atEnd else mode, ui.slicesCheckBox.checked, ui.threeDCheckBox.checked)
        shown = stages.magnitude() if mode == "magnitude" and not atEnd else stages.volume
        self._views.showLayers(foreground=shown)

    def _onDifference(self, index: int) -> None:
        stages = self._stages()
        if stages is None:
            return
        if index == 0:
            self._onFlow()
            return
        with slicer.util.tryWithErrorDisplay(_("The difference maps could not be made."), waitCursor=True):
            made = derived(self._transformNode, f"difference{index}")
            shown = made[0] if made else stages.differences()[index - 1]
            self._views.showLayers(foreground=shown, foregroundOpacity=float(self._ui.opacitySlider.value))
