"""Hands items from one thread to the next, in order, in bounded memory, and never waits for ever."""

import threading
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Generic, TypeVar

from edgewright.runtime.errors import EdgeError, SourceError

T = TypeVar("T")

# How often a waiting thread looks whether it should still wait; it is woken at once by what it waits for.
_LOOK_S = 0.05


class Ended(Exception):
    """Nothing more comes out of, or goes into, a channel."""


class Channel(Generic[T]):
    """Up to `capacity` items between a thread that puts and one that gets.

    A full channel makes the putting thread wait; one that keeps the `newest` throws its oldest item away instead and counts it
    in `dropped`. `given_up` is looked at while a thread waits: when it says True, there is nothing to wait for any more.
    Channels that share `changed` can be waited for together.
    """

    def __init__(
        self,
        capacity: int,
        *,
        newest: bool = False,
        given_up: Callable[[], bool] = lambda: False,
        changed: threading.Condition | None = None,
    ) -> None:
        self.dropped = 0
        self._items: deque[T] = deque()
        self._capacity = capacity
        self._newest = newest
        self._given_up = given_up
        self._changed = changed or threading.Condition()
        self._closed = False
        self._cancelled = False
        self._error: BaseException | None = None

    @property
    def ready(self) -> bool:
        """Whether `get` returns at once, with an item or with the end."""
        return bool(self._items) or self._closed

    def put(self, item: T) -> None:
        """Hand `item` on; Ended when nobody takes it any more."""
        with self._changed:
            if self._newest and len(self._items) >= self._capacity:
                self._items.popleft()
                self.dropped += 1
            self._wait(lambda: len(self._items) < self._capacity or self._closed, None)
            if self._closed or self._cancelled or len(self._items) >= self._capacity:
                raise Ended
            self._items.append(item)
            self._changed.notify_all()

    def get(self, timeout_s: float | None = None) -> T:
        """The oldest item. When there will be none any more: the error that the channel was closed with, else Ended.

        TimeoutError when nothing came for `timeout_s`.
        """
        with self._changed:
            in_time = self._wait(lambda: bool(self._items) or self._closed, timeout_s)
            if self._items and not self._cancelled:
                item = self._items.popleft()
                self._changed.notify_all()
                return item
            if self._error is not None and not self._cancelled:
                raise self._error
            if in_time:
                raise Ended
            raise TimeoutError

    def close(self, error: BaseException | None = None) -> None:
        """Say that nothing more comes; what is in the channel can still be taken, and after it comes `error`."""
        with self._changed:
            if not self._closed:
                self._closed, self._error = True, error
            self._changed.notify_all()

    def cancel(self) -> None:
        """Throw away what is in the channel, and end every wait at both of its sides."""
        with self._changed:
            self._closed = self._cancelled = True
            self._items.clear()
            self._changed.notify_all()

    def _wait(self, ready: Callable[[], bool], timeout_s: float | None) -> bool:
        """False when `timeout_s` passed first."""
        end = None if timeout_s is None else time.monotonic() + timeout_s
        while not (ready() or self._cancelled or self._given_up()):
            left = _LOOK_S if end is None else min(_LOOK_S, end - time.monotonic())
            if left <= 0:
                return False
            self._changed.wait(left)
        return True


@contextmanager
def read_into(channel: Channel[Any], name: str) -> Iterator[None]:
    """Close `channel` behind the block that reads the source `name` into it, with the error that ended it."""
    error: EdgeError | None = None
    try:
        yield
    except Ended:
        pass
    except EdgeError as err:
        error = err
    except Exception as err:  # noqa: BLE001 - a driver may raise anything, and the one who waits must hear of it
        error = SourceError(f"{name} failed: {type(err).__name__}: {err}")
    channel.close(error)
