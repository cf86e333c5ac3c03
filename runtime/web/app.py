"""What the web view answers: the page, streams of pictures and figures, metrics and health."""

import asyncio
import json
from collections.abc import AsyncGenerator
from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import QueryParams
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route
from starlette.types import ASGIApp

from edgewright.runtime.web.health import complaints
from edgewright.runtime.web.metrics import Metrics
from edgewright.runtime.web.pictures import Pictures
from edgewright.runtime.web.streams import Audience, Stream
from edgewright.runtime.web.ticks import Ticks
from edgewright.runtime.web.view import RunView

_FILES = {
    "/": ("page.html", "text/html; charset=utf-8"),
    "/page.css": ("page.css", "text/css; charset=utf-8"),
    "/page.js": ("page.js", "text/javascript; charset=utf-8"),
    "/icon.svg": ("icon.svg", "image/svg+xml"),
}
_BOUNDARY = b"edgewright-frame"


class WebApp:
    """`asgi` answers requests; `work` goes on in the background of the same event loop."""

    def __init__(self, view: RunView, pictures: Pictures, *, silence_s: float, most_streams: int) -> None:
        self.audience = Audience(most_streams)
        self.metrics = Metrics(view, self._viewers, silence_s=silence_s)
        self._view = view
        self._pictures = pictures
        self._silence_s = silence_s
        self._ticks = Ticks(view, silence_s=silence_s)
        self.asgi: ASGIApp = self._routes()

    async def work(self) -> None:
        """Follow the run, for ever."""
        await asyncio.gather(self._ticks.tick(), self._pictures.encode())

    def _routes(self) -> Starlette:
        mjpeg = f"multipart/x-mixed-replace; boundary={_BOUNDARY.decode()}"
        pictures = Stream("pictures", mjpeg, self._picture_parts, self.audience)
        events = Stream("events", "text/event-stream", self._events, self.audience, b"event: over\ndata: \n\n")
        files = [Route(path, _file(name, content_type)) for path, (name, content_type) in _FILES.items()]
        app = Starlette(
            routes=[
                *files,
                Route("/picture.mjpeg", pictures),
                Route("/events", events),
                Route("/status.json", self._status),
                Route("/metrics", self._metrics),
                Route("/healthz", self._health),
            ]
        )
        # It would redirect to whatever host the request names.
        app.router.redirect_slashes = False
        return app

    async def _status(self, request: Request) -> Response:
        return Response(self._ticks.with_history(), media_type="application/json")

    async def _metrics(self, request: Request) -> Response:
        text, content_type = self.metrics.text(request.headers.get("accept", ""))
        return Response(text, headers={"Content-Type": content_type})

    async def _health(self, request: Request) -> Response:
        reasons = complaints(self._view, self._view.status(), silence_s=self._silence_s)
        answer = {"status": "failing" if reasons else "ok", "reasons": reasons}
        return Response(json.dumps(answer) + "\n", 503 if reasons else 200, media_type="application/json")

    def _picture_parts(self, query: QueryParams) -> AsyncGenerator[bytes, None]:
        names = [source.name for source in self._view.status().sources]
        wanted = query.get("source", names[0])
        if wanted not in names:
            raise KeyError("There is no such source.")
        return self._jpegs(wanted)

    async def _jpegs(self, source: str) -> AsyncGenerator[bytes, None]:
        # A browser shows a part when it sees that the next one begins.
        yield b"--" + _BOUNDARY + b"\r\n"
        number = 0
        with self._pictures.watch(source):
            while True:
                picture = await self._pictures.newer(source, number)
                number = picture.number
                head = b"Content-Type: image/jpeg\r\nContent-Length: %d\r\n\r\n" % len(picture.jpeg)
                yield head + picture.jpeg + b"\r\n--" + _BOUNDARY + b"\r\n"

    async def _events(self, query: QueryParams) -> AsyncGenerator[bytes, None]:
        with self._ticks.watch():
            number = self._ticks.number
            yield b"retry: 2000\ndata: " + self._ticks.with_history() + b"\n\n"
            while True:
                number, event = await self._ticks.newer(number)
                yield b"data: " + event + b"\n\n"

    def _viewers(self) -> dict[str, int]:
        return {kind: self.audience.watching[kind] for kind in ("pictures", "events")}


def _file(name: str, content_type: str) -> ASGIApp:
    return Response(
        Path(__file__).with_name("page").joinpath(name).read_bytes(), headers={"Content-Type": content_type}
    )
