"""Channels between threads."""

import threading
from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgewright.runtime.channel import Channel, Ended


def in_thread(body: Callable[[], object]) -> tuple[threading.Thread, list[Ended]]:
    """A started thread, and the end that it met."""
    errors: list[Ended] = []

    def run() -> None:
        try:
            body()
        except Ended as err:
            errors.append(err)

    thread = threading.Thread(target=run, daemon=True)
    thread.start()
    return thread, errors


def filled(channel: Channel[int], *items: int) -> Channel[int]:
    for item in items:
        channel.put(item)
    return channel


@given(st.lists(st.integers(), max_size=30), st.integers(1, 4))
def test_everything_comes_out_in_order_whatever_the_capacity(items: list[int], capacity: int) -> None:
    channel = Channel[int](capacity)

    def put_all() -> None:
        filled(channel, *items)
        channel.close()

    thread, _ = in_thread(put_all)
    got: list[int] = []
    with pytest.raises(Ended):
        while True:
            got.append(channel.get(5))
    thread.join()
    assert got == items


@given(st.lists(st.integers(), max_size=30), st.integers(1, 4))
def test_a_channel_of_the_newest_keeps_the_last_items_and_counts_the_others(items: list[int], capacity: int) -> None:
    channel = filled(Channel[int](capacity, newest=True), *items)
    channel.close()
    kept = items[-capacity:]
    assert [channel.get() for _ in kept] == kept
    assert channel.dropped == len(items) - len(kept)


def test_an_error_comes_after_the_items_before_it() -> None:
    channel = filled(Channel[int](2), 1, 2)
    channel.close(ValueError("broken"))
    assert (channel.get(), channel.get()) == (1, 2)
    with pytest.raises(ValueError, match="broken"):
        channel.get()


def test_the_first_end_counts() -> None:
    channel = Channel[int](1)
    channel.close(ValueError("broken"))
    channel.close()
    with pytest.raises(ValueError, match="broken"):
        channel.get()


def test_nothing_in_time_is_a_timeout_and_not_the_end() -> None:
    channel = Channel[int](1)
    with pytest.raises(TimeoutError):
        channel.get(0.001)
    channel.put(7)
    assert channel.get() == 7


@pytest.mark.parametrize("end", [Channel.close, Channel.cancel])
@pytest.mark.parametrize("waiting", [lambda channel: channel.put(2), lambda channel: (channel.get(), channel.get())])
def test_whoever_waits_is_woken_by_the_end(
    end: Callable[[Channel[int]], None], waiting: Callable[[Channel[int]], object]
) -> None:
    channel = filled(Channel[int](1), 1)
    thread, errors = in_thread(lambda: waiting(channel))
    end(channel)
    thread.join(5)
    assert len(errors) == 1


def test_what_is_cancelled_is_thrown_away() -> None:
    channel = filled(Channel[int](2), 1)
    channel.cancel()
    with pytest.raises(Ended):
        channel.get()
    with pytest.raises(Ended):
        channel.put(2)


def test_nobody_waits_for_what_is_given_up() -> None:
    given_up = threading.Event()
    channel = Channel[int](1, given_up=given_up.is_set)
    getting, errors = in_thread(channel.get)
    given_up.set()
    getting.join(5)
    assert len(errors) == 1
