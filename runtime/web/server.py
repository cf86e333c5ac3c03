"""The web view's own thread, with an event loop of its own."""

import asyncio
import logging
import socket
import threading

import uvicorn
from starlette.types import ASGIApp

from edgewright.runtime.web.access import LARGEST_HEAD
from edgewright.runtime.web.app import WebApp
from edgewright.runtime.web.connections import PatientProtocol

_log = logging.getLogger(__name__)
# Beside the streams, for pages, metrics and health.
_SPARE_CONNECTIONS = 32
# So long may clients take to hear that it is over.
_GRACE_S = 0.2
_LEAVE_S = 5.0


class Server:
    """Serves `app` behind `guarded`, which is `app.asgi` or leads there, to whoever connects to `listener`, until it is stopped."""

    def __init__(self, app: WebApp, guarded: ASGIApp, listener: socket.socket) -> None:
        self._app = app
        self._listener = listener
        self._uvicorn = uvicorn.Server(_config(guarded, app.audience.most + _SPARE_CONNECTIONS))
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over = asyncio.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._run, name="edgewright web view", daemon=True)
        self._thread.start()
        self._ready.wait(_LEAVE_S)

    def stop(self) -> None:
        """Close every connection and the port; harmless when repeated."""
        if self._loop is not None and self._thread.is_alive():
            try:
                self._loop.call_soon_threadsafe(self._over.set)
            except RuntimeError:
                # It ended in this very moment.
                _log.debug("the web view has ended already")
        self._thread.join(_LEAVE_S)
        self._listener.close()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception:  # noqa: BLE001 - the last line of a thread that nobody waits for
            _log.exception("the web view failed and is closed; the run goes on")
        self._listener.close()

    async def _serve(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._ready.set()
        serving = asyncio.ensure_future(self._uvicorn.serve(sockets=[self._listener]))
        working = asyncio.ensure_future(self._app.work())
        over = asyncio.ensure_future(self._over.wait())
        done, _ = await asyncio.wait({serving, working, over}, return_when=asyncio.FIRST_COMPLETED)
        self._app.audience.over.set()
        self._uvicorn.should_exit = True
        connections, end_s = self._uvicorn.server_state.connections, self._loop.time() + _GRACE_S
        while connections and self._loop.time() < end_s:
            await asyncio.sleep(0.02)
        for connection in tuple(connections):
            connection.transport.abort()
        await serving
        working.cancel()
        over.cancel()
        if working in done:
            working.result()


def _config(app: ASGIApp, most_connections: int) -> uvicorn.Config:
    return uvicorn.Config(
        app,
        http=PatientProtocol,
        ws="none",
        lifespan="off",
        log_config=None,
        # Below are the mistakes of clients, as many as they like to make; addresses may hold the token.
        log_level="error",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        limit_concurrency=most_connections,
        timeout_keep_alive=5,
        timeout_graceful_shutdown=1,
        h11_max_incomplete_event_size=LARGEST_HEAD,
    )
