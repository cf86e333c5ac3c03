"""Whether a run does what it is there for."""

from edgewright.runtime.status import RunStatus
from edgewright.runtime.web.view import RunView


def complaints(view: RunView, status: RunStatus, *, silence_s: float) -> list[str]:
    """What is wrong at this moment, a sentence each; none when every source runs and frames came out lately."""
    return [sentence for source in status.sources for sentence in _of(view, source.name, source.state, silence_s)]


def _of(view: RunView, name: str, state: str, silence_s: float) -> list[str]:
    found = [] if state in ("running", "starting") else [f"source {name} is {state}"]
    silent_s = view.silent_s(name)
    if silent_s is None:
        found.append(f"no frame of {name} has come out yet")
    elif silent_s > silence_s:
        found.append(f"no frame of {name} came out for {silent_s:.0f} s")
    return found
