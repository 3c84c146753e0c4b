"""The two exceptions that end a registration without a result."""

from __future__ import annotations


class RegistrationError(Exception):
    """The input cannot be registered; the message is one sentence that says what is wrong and what to do."""


class Cancelled(Exception):  # noqa: N818 - a wish, not an error
    """Raised by a progress callback to stop a registration; `register` has then written nothing."""


NOT_ENOUGH_MEMORY = "There is not enough memory for this registration; close other programs and try again."
