"""Ends a run whose inference never returns, and tells systemd that a run is alive.

An engine cannot be taken away from the thread that is in it, so the run cannot go on. It ends as by any other error, with its
sinks closed and its report written, where the main thread is free; where it is not, the process ends at once.
"""

import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from types import FrameType

from edgewright.runtime.errors import StuckError
from edgewright.runtime.pending import longest_s

# How long an orderly end may take, and how often the watch looks.
_GRACE_S, _LOOK_S = 15.0, 1.0
# By how much a look may be late on a busy machine.
_LATE_S = 5.0
_ALARM = signal.SIGALRM


@contextmanager
def watchdog(limit_s: float) -> Iterator[None]:
    """While entered, StuckError ends the main thread's work when an inference has not returned for `limit_s`.

    A service manager that asks for signs of life (`Type=notify`, `WatchdogSec=`; sd_notify(3)) gets them from here, as long as
    no inference is late. Outside the main thread it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    over = threading.Event()
    thread = threading.Thread(target=_look, args=(limit_s, over), name="edgewright watch", daemon=True)

    def on_alarm(_: int, __: FrameType | None) -> None:
        raise StuckError(_sentence(limit_s))

    before = signal.signal(_ALARM, on_alarm)
    notify("READY=1")
    thread.start()
    try:
        yield
    finally:
        over.set()
        signal.signal(_ALARM, before)
        notify("STOPPING=1")


def notify(state: str) -> None:
    """Tell the service manager, if there is one: sd_notify(3)."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address.startswith(("/", "@")):
        return
    # A manager that is gone, or too busy to read, is no reason to stop.
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as end:
        end.setblocking(False)
        end.connect("\0" + address[1:] if address.startswith("@") else address)
        end.send(state.encode())


def _look(limit_s: float, over: threading.Event) -> None:
    every_s = min(_LOOK_S, limit_s / 4)
    last_s, anew_s = time.monotonic(), 0.0
    while not over.wait(every_s):
        now_s = time.monotonic()
        if now_s - last_s > 2 * every_s + _LATE_S:
            # The process was stopped, as by Ctrl-Z, and the engine with it.
            anew_s = now_s + limit_s
        last_s = now_s
        if longest_s() < limit_s or now_s < anew_s:
            notify("WATCHDOG=1")
            continue
        signal.pthread_kill(threading.main_thread().ident or 0, _ALARM)
        if not over.wait(_GRACE_S):
            # The main thread itself is in the call, or an engine does not let itself be closed.
            os.write(sys.stderr.fileno(), f"error: {_sentence(limit_s)}\n".encode())
            os._exit(StuckError.exit_status)
        return


def _sentence(limit_s: float) -> str:
    return (
        f"the inference has not returned for {limit_s:g} s; the engine or its device hangs: start the run again, restart the "
        "device if it happens again, or give a slow network longer with --stuck-after"
    )
