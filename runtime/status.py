"""What a run is doing at this moment, as a sink may ask for it from a thread of its own."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgewright.runtime.backends import Setting
from edgewright.runtime.supervision import SourceState


@dataclass(frozen=True)
class SourceStatus:
    """One source by its name, which shows no password; `dropped` frames were replaced by newer ones before the network had
    time for them, `skipped` ones could not be read."""

    name: str
    state: SourceState
    dropped: int = 0
    skipped: int = 0


@dataclass(frozen=True)
class RunStatus:
    """The network that runs, with the settings of its engine, on these sources; `events` counts what went wrong and was put
    right, by its name. `watched` is what the run knows of its own accuracy and of drift, as JSON has it; empty where nobody
    watches."""

    network: str
    settings: Mapping[str, Setting]
    sources: tuple[SourceStatus, ...]
    events: Mapping[str, int]
    watched: Mapping[str, Any] = field(default_factory=dict)
