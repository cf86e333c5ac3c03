"""From the text of an error to the failures that are known to say so."""

import re

from edgewright.pipeline.doctor.failures import FAILURES, Failure


def explain(text: str) -> tuple[Failure, ...]:
    """The known failures whose signs the text bears, the one that accounts for most of it first; none for an unknown text."""
    plain = re.sub(r"\s+", " ", text.lower()).strip()
    weights = {entry: _weight(entry, plain) for entry in FAILURES}
    return tuple(sorted((entry for entry in FAILURES if weights[entry]), key=lambda entry: -weights[entry]))


def _weight(entry: Failure, text: str) -> int:
    """The characters that its signs match, each sign counted once."""
    found = (re.search(sign, text) for sign in entry.signs)
    return sum(len(match.group()) for match in found if match)
