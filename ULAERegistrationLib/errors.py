"""The two exceptions that end a registration without a result."""

from __future__ import annotations


class RegistrationError(Exception):
    """The input cannot be registered; the message is one sentence that says what is wrong and what to do.

    Names of files and texts of headers in the message cannot control a terminal: characters that do are escaped.
    """

    def __init__(self, message: str = "") -> None:
        super().__init__(printable(message))


def printable(text: str) -> str:
    """Return a text in which line breaks, control characters and bytes that are no letters are escaped."""
    return "".join(
        character if character.isprintable() else ascii(character)[1:-1].replace("\\udc", "\\x") for character in text
    )


class Cancelled(Exception):  # noqa: N818 - a wish, not an error
    """Raised by a progress callback to stop a registration; `register` has then written nothing."""


# What torch, ITK and CUDA say in a RuntimeError; the last two on Windows.
MEMORY_WORDS = ("allocate memory", "out of memory", "bad_alloc", "not enough memory", "bad allocation")
NOT_ENOUGH_MEMORY = "There is not enough memory; close other programs and try again."


def lacks_memory(error: BaseException) -> bool:
    """Tell whether an error means too little memory: numpy raises a MemoryError, torch and ITK a RuntimeError."""
    is_told = isinstance(error, RuntimeError) and any(words in str(error) for words in MEMORY_WORDS)
    return is_told or isinstance(error, MemoryError)


def unexpected(error: BaseException) -> str:
    """Describe an error that is none of the input's; of a text of several lines the last is taken, as ITK's reason."""
    lines = str(error).strip().splitlines() or [""]
    return f"The registration failed unexpectedly ({type(error).__name__}: {printable(lines[-1])})"


def sentence_of(error: BaseException) -> str:
    """Say in a sentence why something failed, whatever the error is."""
    if isinstance(error, RegistrationError):
        return str(error)
    return NOT_ENOUGH_MEMORY if lacks_memory(error) else f"{unexpected(error)}."
