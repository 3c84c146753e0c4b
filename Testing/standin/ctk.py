"""The `ctk` module: the few CTK widgets the module uses, with CTK's own properties, slots and signals only."""

from __future__ import annotations

from PySide6 import QtCore, QtWidgets
from PySide6.QtCore import Property, Signal, Slot

from .qt import widget

HEADER = 24  # pixels of a collapsible button's title


@widget
class ctkCollapsibleButton(QtWidgets.QAbstractButton):
    """A titled section that hides its children."""

    contentsCollapsed = Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._collapsed = False
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
        for child in self.children():
            if isinstance(child, QtWidgets.QWidget):
                child.setVisible(not collapsed)
        self.updateGeometry()
        self.contentsCollapsed.emit(collapsed)

    collapsed = Property(bool, lambda self: self._collapsed, _set_collapsed, notify=contentsCollapsed)

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
class ctkPathLineEdit(QtWidgets.QWidget):
    """A file path with a browse button."""

    currentPathChanged = Signal(str)
    validInputChanged = Signal(bool)

    def __init__(self, parent=None):
        super().__init__(parent)
        self._filters: list[str] = []
        self._key = ""
        row = QtWidgets.QHBoxLayout(self)
        row.setContentsMargins(0, 0, 0, 0)
        self._line = QtWidgets.QLineEdit()
        row.addWidget(self._line)
        row.addWidget(QtWidgets.QToolButton(text="..."))
        self._line.textChanged.connect(self.currentPathChanged)

    currentPath = Property(str, lambda self: self._line.text, lambda self, path: self._line.setText(path))
    nameFilters = Property(
        "QStringList", lambda self: self._filters, lambda self, filters: setattr(self, "_filters", list(filters))
    )
    settingKey = Property(str, lambda self: self._key, lambda self, key: setattr(self, "_key", key))

    @Slot(str)
    def setCurrentPath(self, path: str) -> None:
        self._line.setText(path)
