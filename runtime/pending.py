"""The calls into an engine that have not returned yet, of all threads of this process: how a watch sees that one never will."""

import threading
import time
from types import TracebackType

_since_s: dict[int, float] = {}


class EngineCall:
    """A call into an engine, while it is entered; one at a time in a thread."""

    def __enter__(self) -> None:
        _since_s[threading.get_ident()] = time.monotonic()

    def __exit__(self, _: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None) -> None:
        _since_s.pop(threading.get_ident(), None)


def longest_s() -> float:
    """For how long the oldest call has not returned; 0 when there is none."""
    # A copy, for other threads begin and end calls meanwhile.
    return max((time.monotonic() - since for since in tuple(_since_s.values())), default=0.0)
