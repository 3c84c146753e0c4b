"""The licence of the shipped weights, which whoever registers with them has to accept once on this computer."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

LICENCE = "CC BY-NC 4.0"  # as the card of the weights names it
SETTING = "ULAERegistration/AcceptedLicence"


def accepted() -> bool:
    """Whether the user has accepted the licence; another licence of later weights has to be accepted anew."""
    return qt.QSettings().value(SETTING) == LICENCE


def setAccepted(accept: bool) -> None:
    """Remembers the user's answer in the application's settings."""
    qt.QSettings().setValue(SETTING, LICENCE if accept else "")


def sentence() -> str:
    """What a script is told that uses the weights without having accepted their licence."""
    return _(
        "The shipped weights are under {licence}, for research and not for commercial use. If you accept that, pass"
        " acceptLicence=True, or tick the box in the module's panel once."
    ).format(licence=LICENCE)
