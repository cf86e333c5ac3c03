"""A web view on a free port of this machine, and clients as raw as a test needs them."""

import http.client
import json
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from edgewright.runtime.draw import annotate
from edgewright.runtime.results import Detections, Frame, Result
from edgewright.runtime.sinks import Output, SinkContext
from edgewright.runtime.sinks.web import WebSink
from edgewright.runtime.status import RunStatus, SourceStatus
from edgewright.runtime.web.address import Address

LABELS = ("bolt", "nut", "washer")
SOURCE = "rtsp://***@gate/live"
PATIENCE_S = 30.0


@dataclass(frozen=True)
class Answer:
    """What came back for a request."""

    status: int
    headers: dict[str, str]
    body: bytes


@dataclass
class Served:
    """A web view, what it said, and the state of the run that it shows."""

    sink: WebSink
    said: list[str]
    run: list[RunStatus] = field(default_factory=list)

    @property
    def port(self) -> int:
        return int(self.sink.url.rstrip("/").rpartition(":")[2])

    def show(self, *outputs: Output) -> None:
        """Hand outputs over as the loop does: with a picture when one is wanted."""
        for output in outputs:
            picture = annotate(output.frame.image, output.result, LABELS) if self.sink.wants_picture else None
            self.sink.write(Output(output.frame, output.result, output.age_s, output.latency_s, picture))

    def get(self, path: str, headers: dict[str, str] | None = None, *, method: str = "GET") -> Answer:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, headers=headers or {})
            answer = connection.getresponse()
            fields = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, fields, answer.read())
        finally:
            connection.close()

    def json(self, path: str) -> Any:
        return json.loads(self.get(path).body)

    @contextmanager
    def connected(self, *sent: bytes, receive_buffer: int | None = None) -> Iterator[socket.socket]:
        """A connection over which these bytes were sent."""
        client = socket.socket()
        try:
            if receive_buffer is not None:
                client.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, receive_buffer)
            client.settimeout(PATIENCE_S)
            client.connect(("127.0.0.1", self.port))
            for part in sent:
                client.sendall(part)
            yield client
        finally:
            client.close()


def request(path: str, *headers: str, method: str = "GET") -> bytes:
    lines = (f"{method} {path} HTTP/1.1", "Host: localhost", *headers)
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n"


@contextmanager
def served(
    *, states: tuple[SourceStatus, ...] = (SourceStatus(SOURCE, "running"),), **options: Any
) -> Iterator[Served]:
    """A web view of a run on these sources."""
    said: list[str] = []
    run = [RunStatus("gate", {"backend": "ort", "precision": "fp32"}, states, {})]
    context = SinkContext(LABELS, states[0].name, 30.0, True, lambda: run[0], said.append)
    sink = WebSink(Address("127.0.0.1", 0), context, **options)
    with sink:
        yield Served(sink, said, run)


def output(
    index: int = 0, *, source: str = SOURCE, result: Result | None = None, size_hw: tuple[int, int] = (96, 128)
) -> Output:
    """A frame whose grey is its number, with one bolt unless something else was found."""
    image = np.full((*size_hw, 3), index % 256, np.uint8)
    found = one_bolt() if result is None else result
    return Output(Frame(image, index, time.monotonic(), source), found, 0.04, {"capture": 0.002, "infer": 0.03})


def one_bolt(score: float = 0.9) -> Detections:
    box = np.array([[10, 20, 40, 60]], np.float32)
    return Detections(box, np.array([score], np.float32), np.zeros(1, np.int64))


def until(true: Callable[[], object], what: str) -> None:
    """Wait until that is so; a busy machine may take long."""
    deadline = time.monotonic() + PATIENCE_S
    while not true():
        assert time.monotonic() < deadline, f"{what} did not happen"
        time.sleep(0.02)


def read_until(client: socket.socket, mark: bytes) -> bytes:
    """What comes up to the mark, or until the other side closes."""
    came = b""
    while mark not in came:
        part = client.recv(65536)
        if not part:
            break
        came += part
    return came


def read_to_end(client: socket.socket) -> bytes:
    """All that comes until the other side closes."""
    came = b""
    while part := client.recv(65536):
        came += part
    return came


def is_closed(client: socket.socket) -> bool:
    """Whether the other side closes the connection, after whatever it still sends."""
    try:
        while client.recv(65536):
            pass
    except ConnectionError:
        return True
    except TimeoutError:
        return False
    return True
