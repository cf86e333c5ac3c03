"""Responses without end: each client gets the newest part when it has taken the last one."""

import asyncio
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Coroutine, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass, field
from typing import Any

from starlette.datastructures import QueryParams
from starlette.responses import PlainTextResponse
from starlette.types import Message, Receive, Scope, Send

Parts = Callable[[QueryParams], AsyncGenerator[bytes, None]]


@dataclass(eq=False)
class Audience:
    """Who watches, by the kind of stream: at most `most` in all, until `over`."""

    most: int
    watching: Counter[str] = field(default_factory=Counter)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    @contextmanager
    def with_one_more(self, kind: str) -> Iterator[None]:
        self.watching[kind] += 1
        try:
            yield
        finally:
            self.watching[kind] -= 1


@dataclass(frozen=True, eq=False)
class Stream:
    """An ASGI application that sends `parts` of what the query asks for, and `last` when the run is over.

    `parts` is called before the answer begins; what it cannot give is a KeyError with the reason.
    """

    kind: str
    content_type: str
    parts: Parts
    audience: Audience
    last: bytes = b""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if self.audience.watching.total() >= self.audience.most:
            refusal = PlainTextResponse("As many watch as may; try again later.\n", 503, {"Retry-After": "5"})
            await refusal(scope, receive, send)
            return
        try:
            parts = self.parts(QueryParams(scope["query_string"]))
        except KeyError as err:
            await PlainTextResponse(f"{err.args[0]}\n", 404)(scope, receive, send)
            return
        # Proxies would keep a stream until they have enough of it.
        headers = [(b"content-type", self.content_type.encode()), (b"x-accel-buffering", b"no")]
        with self.audience.with_one_more(self.kind):
            await send({"type": "http.response.start", "status": 200, "headers": headers})
            if scope["method"] != "HEAD":
                await self._until_over(receive, _send_all(send, parts))
        await send(_body(self.last, more=False))

    async def _until_over(self, receive: Receive, sending: Coroutine[Any, Any, None]) -> None:
        tasks = [asyncio.ensure_future(task) for task in (sending, _gone(receive), self.audience.over.wait())]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)


async def _send_all(send: Send, parts: AsyncGenerator[bytes, None]) -> None:
    async with aclosing(parts):
        async for part in parts:
            await send(_body(part))
            # The server sends nothing before it is rid of what it has: the next part is chosen then, and is the newest.
            await send(_body(b""))


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _body(part: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": part, "more_body": more}
