"""The Quality section: verdict, measures, Jacobian map, Dice and the report of the current result."""

from __future__ import annotations

import csv
import io
import re
from pathlib import Path

import qt
import slicer
from slicer.i18n import tr as _

from . import maps
from .copies import RESULT
from .outputs import qualityOf, referenced, warpedVolume

# On a light and on a dark panel, with a contrast of 4.5 at least to those of Slicer.
VERDICT_COLORS = {
    "good": ("#256d29", "#81c784"),
    "look at it": ("#8a5200", "#ffb74d"),
    "do not use": ("#b71c1c", "#ef9a9a"),
}
OTHER_COLORS = ("black", "white")  # of a verdict that another version has given


class QualityPanel:
    """Shows how good the current result is.

    Args:
        ui: the widgets by name.
        views: where it shows volumes.
    """

    def __init__(self, ui, views):
        self._ui, self._views = ui, views
        self._transformNode = None
        self._report = ""
        self._rows: list[tuple[str, str]] = []
        ui.jacobianButton.connect("clicked()", self.showJacobian)
        ui.saveReportButton.connect("clicked()", self.saveReport)
        ui.diceButton.connect("clicked()", self.measureDice)
        ui.copyTableButton.connect("clicked()", self.copyTable)
        ui.saveTableButton.connect("clicked()", self.saveTable)
        ui.sideBySideButton.connect("toggled(bool)", self.onSideBySide)
        ui.checkerboardButton.connect("clicked()", self.showCheckerboard)
        ui.qualityTable.setColumnCount(2)
        ui.qualityTable.setHorizontalHeaderLabels([_("Measure"), _("Value")])
        ui.qualityTable.horizontalHeader().setStretchLastSection(True)
        ui.qualityTable.verticalHeader().setVisible(False)
        self.setResult(None, "")

    def setResult(self, transformNode, report: str) -> None:
        """Chooses the result that is judged.

        :param report: its report as HTML, empty where it is no longer at hand.
        """
        self._transformNode, self._report = transformNode, report
        quality = qualityOf(transformNode)
        dark = self._ui.verdictLabel.palette.color(qt.QPalette.Window).lightness() < 128
        self._ui.verdictLabel.text = _verdict(quality, dark)
        self._fill(_rows(quality))
        self._ui.jacobianButton.enabled = bool(quality)
        for button in (self._ui.copyTableButton, self._ui.saveTableButton):
            button.enabled = bool(quality)
        self.update()
        if not self._ui.sideBySideButton.enabled:  # else nobody could bring the views back
            self._ui.sideBySideButton.checked = False

    def setReport(self, report: str) -> None:
        """Takes the report of the result, which may come after it."""
        self._report = report
        self.update()

    def update(self) -> None:
        """Brings the buttons in line with the selectors and with what is there."""
        ui = self._ui
        button = ui.saveReportButton
        button.enabled = bool(self._report)
        if self._report:
            button.toolTip = _("Save this result to look through, with all measures, as one HTML file for any browser.")
        else:
            button.toolTip = _(
                "Register first; the report comes some seconds after the result and is kept until the next registration"
                " or until the scene is closed."
            )
        isResult = bool(qualityOf(self._transformNode))
        fixed, moving = (referenced(self._transformNode, which) if isResult else None for which in ("fixed", "moving"))
        for button in (ui.sideBySideButton, ui.checkerboardButton):
            button.enabled = fixed is not None and moving is not None
        labels = [selector.currentNode() for selector in (ui.diceFixedSelector, ui.diceWarpedSelector)]
        ui.diceButton.enabled = fixed is not None and None not in labels

    def showJacobian(self) -> None:
        """Makes the map of the Jacobian determinant and shows it over the fixed volume."""
        with slicer.util.tryWithErrorDisplay(_("The Jacobian map could not be made."), waitCursor=True):
            node = maps.jacobianMap(self._transformNode)
            fixed = referenced(self._transformNode, "fixed")
            self._views.showLayers(background=fixed, foreground=node, foregroundOpacity=0.6)

    def onSideBySide(self, on: bool) -> None:
        """Shows the three volumes in rows, or brings the views back."""
        with slicer.util.tryWithErrorDisplay(_("The views could not be arranged.")):
            if on:
                self._ui.flickerButton.checked = False  # its next change would end what is shown here
                fixed, moving = (referenced(self._transformNode, which) for which in ("fixed", "moving"))
                self._views.showSideBySide(fixed, moving, warpedVolume(self._transformNode))
            else:
                self._views.back()

    def showCheckerboard(self) -> None:
        """Makes the checkerboard anew, for the volumes may have changed, and shows it alone."""
        with slicer.util.tryWithErrorDisplay(_("The checkerboard could not be made."), waitCursor=True):
            fixed, moving = (referenced(self._transformNode, which) for which in ("fixed", "moving"))
            node = maps.checkerboard(self._transformNode, fixed, moving)
            self._views.showLayers(background=node, foreground=None)

    def copyTable(self) -> None:
        """Puts the table on the clipboard, with tabs between the columns."""
        qt.QApplication.clipboard().setText("\n".join("\t".join(row) for row in self._rows))

    def saveTable(self) -> None:
        """Asks for a file and writes the table to it."""
        text = io.StringIO()
        csv.writer(text).writerows([(_("Measure"), _("Value")), *self._rows])
        self._save(text.getvalue(), _("Save table"), ".csv", "CSV (*.csv)")

    def measureDice(self) -> None:
        """Adds the overlap of the labels that both segmentations have to the table."""
        from ULAERegistrationLib.errors import RegistrationError

        with slicer.util.tryWithErrorDisplay(_("Dice could not be measured."), waitCursor=True):
            ui, fixed = self._ui, referenced(self._transformNode, "fixed")
            warped = ui.diceWarpedSelector.currentNode()
            if warped.GetNodeReference(RESULT) not in (None, self._transformNode):
                sentence = _("{name} was carried along by another registration; choose labels that this one carried.")
                raise RegistrationError(sentence.format(name=warped.GetName()))
            found = maps.dice(ui.diceFixedSelector.currentNode(), warped, fixed)
            self._fill(_diceRows(found) + _rows(qualityOf(self._transformNode)))

    def saveReport(self) -> None:
        """Asks for a file and writes the report to it."""
        self._save(self._report, _("Save report"), ".html", "HTML (*.html)")

    def _save(self, text: str, title: str, suffix: str, kinds: str) -> None:
        """Asks for a file and writes a text to it; one that cannot be written whole is left as it was.

        The dialog begins where scenes are saved, for Slicer's working directory may be its program's. A dialog that is
        not the system's own adds no suffix, and has asked about the name without it only.
        """
        from ULAERegistrationLib.files.writing import whole_or_nothing

        name = re.sub(r'[\\/:*?"<>|]', "_", self._transformNode.GetName()) + suffix
        proposed = str(Path(slicer.app.defaultScenePath) / name)
        chosen = qt.QFileDialog.getSaveFileName(slicer.util.mainWindow(), title, proposed, kinds)
        if not chosen:
            return
        path = chosen if chosen.lower().endswith(suffix) else chosen + suffix
        question = _("{file} is there already. Replace it?").format(file=path)
        if path != chosen and Path(path).exists() and not slicer.util.confirmOkCancelDisplay(question):
            return
        with slicer.util.tryWithErrorDisplay(), whole_or_nothing(path) as partial:
            partial.write_text(text, encoding="utf-8", newline="")

    def _fill(self, rows) -> None:
        self._rows = rows
        table = self._ui.qualityTable
        table.setRowCount(len(rows))
        for index, row in enumerate(rows):
            for column, text in enumerate(row):
                table.setItem(index, column, qt.QTableWidgetItem(text))
        table.resizeColumnToContents(0)
        table.resizeRowsToContents()


def _verdict(quality: dict, dark: bool) -> str:
    if not quality:
        return _("No result yet.")
    verdict = quality["verdict"]
    color = VERDICT_COLORS.get(verdict, OTHER_COLORS)[dark]
    reasons = "<br>".join(quality["reasons"])
    return f'<span style="color:{color}"><b>{verdict.capitalize()}</b></span><br>{reasons}'


def _diceRows(found: dict[str, float]) -> list[tuple[str, str]]:
    mean = sum(found.values()) / len(found)
    rows = [(_("Dice, mean of {count} labels").format(count=len(found)), f"{mean:.3f}")]
    return rows + [(_("Dice, {label}").format(label=label), f"{value:.3f}") for label, value in found.items()]


def _rows(quality: dict) -> list[tuple[str, str]]:
    """The measures in words, in the order they matter; none where another version has measured otherwise."""
    q = quality
    try:
        return [
            (_("Similarity (local NCC), before / after"), f"{q['ncc_before']:.3f} / {q['ncc_after']:.3f}"),
            (_("Mean squared difference, before / after"), f"{q['mse_before']:.4f} / {q['mse_after']:.4f}"),
            (_("Folded, whole grid / brain"), f"{q['folded_percent']:.3f} % / {q['folded_percent_brain']:.3f} %"),
            (_("Non-linear Jacobian, least / largest"), f"{q['jacobian_min']:.2f} / {q['jacobian_max']:.2f}"),
            (_("Spread of log Jacobian in the brain"), f"{q['log_jacobian_sd']:.3f}"),
            (_("Displacement, mean / largest"), f"{q['displacement_mean_mm']:.1f} / {q['displacement_max_mm']:.1f} mm"),
            (_("Time"), f"{sum(q['seconds'].values()):.0f} s"),
        ]
    except KeyError:
        return []
