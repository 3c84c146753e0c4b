"""The `ctk` module: the few CTK widgets the module uses, with CTK's own properties, slots and signals only."""

from __future__ import annotations

import fnmatch
import re

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal, Slot

from .qt import widget

HEADER = 24  # pixels of a collapsible button's title


@widget
class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A titled section that hides its children while it is collapsed, and those that somebody has hidden always.

    As in CTK, children are left alone until the section itself is shown for the first time.
    """

    contentsCollapsed = Signal(bool)
    HIDDEN = "hiddenBySomebody"  # property of a child
    CREATED, HIDDEN_BY_CALL = QtCore.Qt.WA_WState_Created, QtCore.Qt.WA_WState_ExplicitShowHide

    def __init__(self, parent=None):
        super().__init__(parent)
        self._collapsed = False
        self._forcing = False  # while the section itself shows or hides its children
        self._followed: set[int] = set()
        self.setCheckable(True)
        self.setChecked(True)
        self.toggled.connect(self._on_toggled)
        self.setContentsMargins(4, HEADER + 4, 4, 4)

    def _on_toggled(self, shown: bool) -> None:
        self._set_collapsed(not shown)

    def _set_collapsed(self, collapsed: bool) -> None:
        if collapsed == self._collapsed:
            return
        self._collapsed = collapsed
        self.setChecked(not collapsed)
        self._show_children()
        self.updateGeometry()
        self.contentsCollapsed.emit(collapsed)

    collapsed = Property(bool, lambda self: self._collapsed, _set_collapsed, notify=contentsCollapsed)

    def setVisible(self, visible: bool) -> None:
        self._forcing = True  # all children are told of it, which is nobody's wish for one of them
        super().setVisible(visible)
        self._forcing = False
        self._show_children()

    def _show_children(self) -> None:
        if not self.testAttribute(self.CREATED):
            return
        self._forcing = True
        for child in [child for child in self.children() if isinstance(child, QtWidgets.QWidget)]:
            self._follow(child)
            hidden = bool(QtCore.QObject.property(child, self.HIDDEN))
            child.setVisible(not hidden and not self._collapsed)
            child.setAttribute(self.HIDDEN_BY_CALL, hidden)
        self._forcing = False

    def _follow(self, child) -> None:
        """Notes from now on whether somebody hides a child, and whether somebody has."""
        if id(child) in self._followed:
            return
        self._followed.add(id(child))
        child.setProperty(self.HIDDEN, child.isHidden() and child.testAttribute(self.HIDDEN_BY_CALL))
        child.installEventFilter(self)

    def eventFilter(self, child, event) -> bool:
        if not self._forcing and event.type() in (QtCore.QEvent.ShowToParent, QtCore.QEvent.HideToParent):
            child.setProperty(self.HIDDEN, event.type() == QtCore.QEvent.HideToParent)
            self._show_children()
        return False

    def hitButton(self, position) -> bool:
        return position.y() < HEADER

    def sizeHint(self) -> QtCore.QSize:
        layout = QtWidgets.QWidget.layout(self)
        if layout is None or self._collapsed:
            return QtCore.QSize(120, HEADER)
        size = layout.totalSizeHint()
        return QtCore.QSize(max(120, size.width()), size.height())

    minimumSizeHint = sizeHint

    def paintEvent(self, event) -> None:
        painter = QtWidgets.QStylePainter(self)
        option = QtWidgets.QStyleOptionButton()
        option.initFrom(self)
        option.rect = QtCore.QRect(0, 0, QtWidgets.QWidget.width(self), HEADER - 2)
        option.text = ""
        painter.drawControl(QtWidgets.QStyle.CE_PushButton, option)
        arrow = "▸" if self._collapsed else "▾"
        painter.drawText(option.rect.adjusted(8, 0, 0, 0), QtCore.Qt.AlignVCenter, f"{arrow}  {self.text}")
        painter.end()


@widget
class ctkSliderWidget(QtWidgets.QWidget):
    """A slider and a spin box that hold one number."""

    valueChanged = Signal(float)
    valueIsChanging = Signal(float)
    STEPS = 1000

    def __init__(self, parent=None):
        super().__init__(parent)
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._slider = QtWidgets.QSlider(QtCore.Qt.Horizontal)
        self._slider.setRange(0, self.STEPS)
        self._spin = QtWidgets.QDoubleSpinBox()
        row.addWidget(self._slider)
        row.addWidget(self._spin)
        self._slider.valueChanged.connect(self._on_slider)
        self._spin.valueChanged.connect(self._on_spin)

    def _on_slider(self, position: int) -> None:
        low, high = self._spin.minimum, self._spin.maximum
        self._spin.setValue(low + position / self.STEPS * (high - low))

    def _on_spin(self, value: float) -> None:
        self._show_position()
        self.valueChanged.emit(value)

    def _show_position(self) -> None:
        low, high = self._spin.minimum, self._spin.maximum
        blocker = QtCore.QSignalBlocker(self._slider)
        self._slider.setValue(round((self._spin.value - low) / (high - low) * self.STEPS) if high > low else 0)
        blocker.unblock()

    def _set_minimum(self, value: float) -> None:
        self._spin.setMinimum(value)
        self._show_position()

    def _set_maximum(self, value: float) -> None:
        self._spin.setMaximum(value)
        self._show_position()

    minimum = Property(float, lambda self: self._spin.minimum, _set_minimum)
    maximum = Property(float, lambda self: self._spin.maximum, _set_maximum)
    value = Property(float, lambda self: self._spin.value, lambda self, value: self._spin.setValue(value))
    singleStep = Property(
        float, lambda self: self._spin.singleStep, lambda self, value: self._spin.setSingleStep(value)
    )
    pageStep = Property(
        float,
        lambda self: float(self._slider.pageStep),
        lambda self, value: self._slider.setPageStep(max(1, int(value))),
    )
    decimals = Property(int, lambda self: self._spin.decimals, lambda self, value: self._spin.setDecimals(value))
    suffix = Property(str, lambda self: self._spin.suffix, lambda self, value: self._spin.setSuffix(value))
    tracking = Property(bool, lambda self: self._slider.tracking, lambda self, value: self._slider.setTracking(value))

    @Slot(float)
    def setValue(self, value: float) -> None:
        self._spin.setValue(value)


@widget
class ctkMessageBox(QtWidgets.QMessageBox):
    """A message box that is answered at once, with the first of `answers` or else with Ok, and noted in `shown`."""

    shown: list[dict] = []  # noqa: RUF012 - these two are shared on purpose, tests read and fill them
    answers: list = []  # noqa: RUF012

    def exec_(self):
        self.shown.append({"icon": self.icon, "text": self.text, "detailedText": self.detailedText})
        return self.answers.pop(0) if self.answers else QtWidgets.QMessageBox.Ok


@widget
class ctkPathLineEdit(QtWidgets.QWidget):
    """A file path with a browse button and a history.

    What matches no name filter is no valid input, and neither is an empty field: it is shown, but `currentPathChanged`
    says nothing about it, and `validInputChanged` speaks only when validity changes. Setting `settingKey` fills in the
    history, and its newest path where the field is empty.
    """

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)
    MOST_HISTORY = 5

    def __init__(self, parent=None):
        super().__init__(parent)
        self._filters: list[str] = []
        self._key = ""
        self._valid = False
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._box = QtWidgets.QComboBox()
        self._box.setEditable(True)
        self._box.setInsertPolicy(QtWidgets.QComboBox.NoInsert)
        row.addWidget(self._box, 1)
        row.addWidget(QtWidgets.QToolButton(text="..."))
        self._box.editTextChanged.connect(self._on_text)

    def _acceptable(self) -> bool:
        patterns = re.findall(r"[*][^\s;,)]+", " ".join(self._filters)) or ["?*"]
        return any(fnmatch.fnmatchcase(self._box.currentText, pattern) for pattern in patterns)

    def _on_text(self, text: str) -> None:
        valid, before = self._acceptable(), self._valid
        self._valid = valid
        if valid:
            self.currentPathChanged.emit(text)
        if valid != before:
            self.validInputChanged.emit(valid)

    def _set_key(self, key: str) -> None:
        self._key = key
        self.retrieveHistory()

    def _history(self) -> list[str]:
        value = QtCore.QSettings().value(self._key) or []
        return [value] if isinstance(value, str) else list(value)

    currentPath = Property(str, lambda self: self._box.currentText, lambda self, path: self._box.setEditText(path))
    nameFilters = Property(
        "QStringList", lambda self: self._filters, lambda self, filters: setattr(self, "_filters", list(filters))
    )
    settingKey = Property(str, lambda self: self._key, _set_key)

    @Slot(str)
    def setCurrentPath(self, path: str) -> None:
        self._box.setEditText(path)

    @Slot()
    def retrieveHistory(self) -> None:
        shown = self._box.currentText
        blocker = QtCore.QSignalBlocker(self)
        self._box.clear()
        self._box.addItems(self._history()[: self.MOST_HISTORY])
        if shown:
            self._box.setEditText(shown)
            blocker.unblock()
            return
        blocker.unblock()
        self._box.setCurrentIndex(0)

    @Slot()
    def addCurrentPathToHistory(self) -> None:
        path = self._box.currentText
        if not path:
            return
        history = [path, *(one for one in self._history() if one != path)]
        QtCore.QSettings().setValue(self._key, history)
        known = self._box.findText(path)
        if known >= 0:
            self._box.removeItem(known)
        self._box.insertItem(0, path)
        self._box.setCurrentIndex(0)
