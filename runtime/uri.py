"""The grammar of sources and sinks: `word:location[?option=value&...]`."""

import re

from edgewright.runtime.errors import UsageError
from edgewright.runtime.plugins import suggestion

_WORD = re.compile(r"([a-z][a-z0-9_]+):(.*)", re.DOTALL)
_OPTIONS = re.compile(r"(.*?)\?([a-z_]+=[^&?]*(?:&[a-z_]+=[^&?]*)*)", re.DOTALL)


def split_word(uri: str) -> tuple[str, str] | None:
    """`video:a.mp4` as ("video", "a.mp4"); None when `uri` starts with no word of small letters."""
    match = _WORD.fullmatch(uri)
    return None if match is None else (match[1], match[2])


def split_options(what: str, text: str, known: tuple[str, ...] = ()) -> tuple[str, dict[str, str]]:
    """`a?size=4x6&fps=5` as ("a", {"size": "4x6", "fps": "5"}); a '?' that starts no `key=value` is left alone.

    UsageError for an option of `what` ("sink images") that is not in `known`.
    """
    match = _OPTIONS.fullmatch(text)
    if match is None:
        return text, {}
    options = dict(pair.split("=", 1) for pair in match[2].split("&"))
    for key in options:
        if key not in known:
            there = f"it has: {', '.join(known)}" if known else "it has none"
            raise UsageError(f"{what} has no option '{key}'{suggestion(key, known)}; {there}")
    return match[1], options


def positive_number(what: str, text: str, *, at_most: float) -> float:
    """`text` as a number above zero; UsageError that names `what` otherwise."""
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if not 0 < value <= at_most:
        raise UsageError(f"{what} must be a number above 0 and up to {at_most:g}, got '{text}'")
    return value
