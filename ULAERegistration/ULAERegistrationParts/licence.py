"""The licence of weights and template, which whoever registers has to accept once on this computer.

Every registration uses the template, also one with weights of the user's own."""

from __future__ import annotations

import qt
from slicer.i18n import tr as _

LICENCE = "CC BY-NC 4.0"  # as the cards of the weights and of the template name it
SETTING = "ULAERegistration/AcceptedLicence"


def accepted() -> bool:
    """Whether the user has accepted the licence; another licence of later ones has to be accepted anew."""
    return qt.QSettings().value(SETTING) == LICENCE


def setAccepted(accept: bool) -> None:
    """Remembers the user's answer in the application's settings."""
    qt.QSettings().setValue(SETTING, LICENCE if accept else "")


def sentence() -> str:
    """What a script is told that registers without having accepted the licence."""
    return _(
        "The shipped weights and the template are under {licence}, for research and not for commercial use. If you"
        " accept that, pass acceptLicence=True, or tick the box in the module's panel once."
    ).format(licence=LICENCE)
