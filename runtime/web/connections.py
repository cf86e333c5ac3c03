"""A connection that is closed when its other side is too slow, and in whose buffer no picture grows old."""

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

# From the connection, or from the last answer, until the next request is there as a whole.
HEAD_S = 10.0
# How long a client may leave unread what the kernel would not take any more.
STUCK_S = 10.0


class PatientProtocol(H11Protocol):
    """uvicorn's own protocol waits for ever for the rest of a request, and for a client that does not read."""

    _waiting_for_head: asyncio.TimerHandle | None = None
    _waiting_for_reader: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        super().connection_made(transport)
        # Nothing waits in this process: the next picture is chosen when the last one has left, so it is the newest.
        transport.set_write_buffer_limits(high=0)
        # Beyond uvicorn's polite refusals: each connection costs a file handle.
        if self.limit_concurrency is not None and len(self.connections) > 2 * self.limit_concurrency:
            transport.abort()
            return
        self._wait_for_head()

    def connection_lost(self, exc: Exception | None) -> None:
        for timer in (self._waiting_for_head, self._waiting_for_reader):
            if timer is not None:
                timer.cancel()
        super().connection_lost(exc)

    def on_response_complete(self) -> None:
        self._wait_for_head()
        super().on_response_complete()

    def pause_writing(self) -> None:
        super().pause_writing()
        self._waiting_for_reader = self.loop.call_later(STUCK_S, self.transport.abort)

    def resume_writing(self) -> None:
        super().resume_writing()
        if self._waiting_for_reader is not None:
            self._waiting_for_reader.cancel()
            self._waiting_for_reader = None

    def _wait_for_head(self) -> None:
        if self._waiting_for_head is not None:
            self._waiting_for_head.cancel()
        self._waiting_for_head = self.loop.call_later(HEAD_S, self._check_head)

    def _check_head(self) -> None:
        cycle: RequestResponseCycle | None = self.cycle
        if cycle is None or cycle.response_complete:
            self.transport.abort()
