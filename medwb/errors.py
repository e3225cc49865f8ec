"""The one exception that means: what was asked for is wrong, and here is the way out."""

import difflib
import reprlib
from collections.abc import Iterable


class RequestError(ValueError):
    """A request that cannot be met as it stands.

    The message is one line that names the bad value, where it stands and the way out. The command line prints
    it and exits with status 2; the dashboard shows it in a box; neither shows a traceback.
    """

    def __init__(self, message: str) -> None:
        super().__init__(printable(" ".join(message.splitlines()).strip()))


def printable(text: str) -> str:
    """The text with every control character replaced: names from files must not steer a terminal."""
    return "".join(sign if sign.isprintable() else "\N{REPLACEMENT CHARACTER}" for sign in text)


def short(value: object) -> str:
    """A value as a message shows it, in at most 80 characters."""
    # A few lines of YAML that name one another can hold more than fits in memory, so repr() is not for them.
    text = value if isinstance(value, str) and len(value) <= 70 else None
    text = repr(text) if text is not None else reprlib.repr(value)
    return text if len(text) <= 80 else text[:77] + "..."


def unknown_name(noun: str, name: str, known: Iterable[str]) -> RequestError:
    """Build the error for a name that is not known, with the nearest names that are.

    Args:
        noun: What was looked up, in the singular ("architecture").
        name: The name that was not found.
        known: Every name that would have been found.

    Returns:
        An exception to raise.
    """
    choices = sorted(known)
    spelled = {choice.lower(): choice for choice in reversed(choices)}
    matches = [spelled[near] for near in difflib.get_close_matches(name.lower(), spelled, n=3, cutoff=0.6)]
    if matches:
        way_out = f"did you mean {' or '.join(matches)}?"
    elif choices:
        way_out = f"known: {', '.join(choices)}"
    else:
        way_out = f"there is no {noun} yet"
    return RequestError(f"unknown {noun} {name!r}; {way_out}")
