"""An alarm is raised once and cleared once, however often what it watches crosses its limit."""

from dataclasses import asdict, dataclass
from typing import Any, Literal

# A disturbance of a moment fills part of a window; two looks in a row are half a window apart at least.
_LOOKS = 2

Kind = Literal["accuracy", "drift"]


@dataclass(frozen=True)
class Event:
    """Something that began (`raised`) or ended at `frame`, `time_s` seconds into the run; `text` is the sentence for people."""

    kind: Kind
    what: str
    raised: bool
    frame: int
    time_s: float
    value: float
    limit: float
    text: str

    def record(self) -> dict[str, Any]:
        """For JSON."""
        return {**asdict(self), "time_s": round(self.time_s, 3)}


class Alarm:
    """`on` after two looks in a row beyond the limit, off after two in a row well within it; between them nothing changes."""

    def __init__(self) -> None:
        self.on = False
        self._in_a_row = 0

    def look(self, *, beyond: bool, within: bool) -> bool:
        """Whether this look changed it."""
        self._in_a_row = self._in_a_row + 1 if (within if self.on else beyond) else 0
        if self._in_a_row < _LOOKS:
            return False
        self.on, self._in_a_row = not self.on, 0
        return True
