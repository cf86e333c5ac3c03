"""What watches a run: its last step, which says at any moment what is known of accuracy and drift."""

from abc import abstractmethod
from typing import Any

from edgewright.runtime.steps import Step

# Where a frame carries what has just happened.
ALARMS = "alarms"


class Watch(Step):
    """Close it before its final numbers are asked for."""

    stage = "watch"

    def __enter__(self) -> "Watch":
        return self

    @property
    @abstractmethod
    def is_active(self) -> bool:
        """Whether there is anything to watch."""

    @property
    @abstractmethod
    def regressed(self) -> bool:
        """Whether accuracy since the start fails as it would fail a gate, or an alarm was raised at any time."""

    @abstractmethod
    def status(self) -> dict[str, Any]:
        """What is known at this moment, for JSON; from any thread."""

    @abstractmethod
    def brief(self) -> str:
        """The state in a few words, for a progress bar; empty when there is nothing to say."""

    @abstractmethod
    def summary(self) -> str:
        """The final numbers for people, after `close`; empty when nothing was watched."""
