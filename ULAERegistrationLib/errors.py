"""The two ways a registration ends without a result."""

from __future__ import annotations


class RegistrationError(Exception):
    """What the user gave cannot be registered; the message is one sentence that says what is wrong and what to do."""


class Cancelled(Exception):  # noqa: N818 - a wish, not an error
    """Raised out of a progress callback to stop a registration; nothing has been written then."""


NOT_ENOUGH_MEMORY = "There is not enough memory for this registration; close other programs and try again."
