"""Slow, greedy and broken clients: the loop and the others do not notice them."""

import threading
import time
from dataclasses import replace
from typing import Any

import cv2
import numpy as np
import pytest
from tests.web import SOURCE, Served, is_closed, output, read_to_end, read_until, request, served, until

from edgewright.runtime.errors import SinkError, UsageError
from edgewright.runtime.sinks import SinkContext, open_sink
from edgewright.runtime.web import connections
from edgewright.runtime.web.address import Address, is_local, listen, parse_address, url_of


@pytest.mark.parametrize(
    ("text", "host", "port"),
    [
        (":8080", "127.0.0.1", 8080),
        ("localhost:80", "localhost", 80),
        ("0.0.0.0:1", "0.0.0.0", 1),
        ("[::1]:65535", "::1", 65535),
        ("camera-7.local:8080", "camera-7.local", 8080),
    ],
)
def test_an_address_is_a_host_and_a_port(text: str, host: str, port: int) -> None:
    assert parse_address(text) == Address(host, port)


@pytest.mark.parametrize(
    "text", ["", "8080", ":", ":http", "::1:8080", ":70000", "http://a:8080", "a b:1", ":8080/x", "[::1]"]
)
def test_what_is_no_address_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match=r"listens on .HOST.:PORT, for example :8080"):
        parse_address(text)


def test_an_address_that_cannot_be_had_is_one_sentence() -> None:
    in_use = r"cannot listen on 127.0.0.1:\d+: the port is in use; choose another one"
    with listen(Address("127.0.0.1", 0)) as taken, pytest.raises(SinkError, match=in_use):
        listen(Address("127.0.0.1", taken.getsockname()[1]))
    with pytest.raises(SinkError, match="this machine does not have that address"):
        # TEST-NET-1 of RFC 5737, which is nobody's.
        listen(Address("192.0.2.1", 0))
    with pytest.raises(SinkError, match=r"the host 'no.such.invalid' is not known"):
        listen(Address("no.such.invalid", 0))


def test_the_loopback_is_this_machine_alone() -> None:
    for host in ("127.0.0.1", "127.0.0.2", "localhost"):
        with listen(Address(host, 0)) as listener:
            assert is_local(listener)
            assert url_of(listener, Address(host, 0)) == f"http://{host}:{listener.getsockname()[1]}/"


@pytest.mark.parametrize(
    "option", ["fps=0", "fps=x", "quality=101", "width=0", "clients=-1", "silence=nan", "size=1x1"]
)
def test_an_option_that_makes_no_sense_is_refused(option: str) -> None:
    with pytest.raises(UsageError, match="sink web"):
        open_sink(f"web::0?{option}", SinkContext(()))


@pytest.mark.parametrize(
    "head",
    [
        request("/" + 20_000 * "a"),
        request("/", "X-Large: " + 20_000 * "b"),
        request("/", *[f"X-{number}: c" for number in range(4000)]),
        b"GET /" + 200_000 * b"d",
    ],
    ids=["path", "header", "headers", "without an end"],
)
def test_an_oversized_head_is_refused_and_its_connection_closed(head: bytes) -> None:
    with served() as view, view.connected() as client:
        try:
            client.sendall(head)
            # 400 of a part that is too large, 431 of a whole that came at once.
            assert read_to_end(client).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 431 "))
        except ConnectionError:
            # What was not read any more is answered by a reset.
            assert is_closed(client)
        assert view.get("/status.json").status == 200


@pytest.mark.parametrize(
    "garbage",
    [b"\x00\xff\x16\x03\x01" * 100, b"\r\n\r\n\r\n", b"GET / HTTP/1.1\r\nHost\r\n\r\n", b"PRI * HTTP/2.0\r\n\r\n"],
)
def test_garbage_is_refused(garbage: bytes) -> None:
    with served() as view, view.connected(garbage) as client:
        assert read_to_end(client).startswith((b"HTTP/1.1 400 ", b"HTTP/1.1 405 "))


def test_a_request_that_does_not_come_to_its_end_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.3)
    with served() as view:
        with view.connected() as silent, view.connected(b"GET / HTTP/1.1\r\nHost: local") as begun:
            assert is_closed(silent)
            assert is_closed(begun)
        with view.connected(request("/icon.svg")) as second:
            read_until(second, b"</svg>")
            second.sendall(b"GET /icon.svg HT")
            assert is_closed(second)
        with view.connected(request("/events")) as stream:
            # What is being answered has time.
            for _ in range(3):
                assert read_until(stream, b"\n\n")


def test_a_request_byte_by_byte_ends_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "HEAD_S", 0.3)
    with served() as view, view.connected() as client:
        start = time.monotonic()
        with pytest.raises(ConnectionError):
            for _ in range(3000):
                client.sendall(b"X")
                time.sleep(0.01)
        assert time.monotonic() - start < 25


def pictures_for(view: Served, stop: threading.Event) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (480, 640, 3), np.uint8)
    shown = output()
    while not stop.is_set():
        view.sink.write(replace(shown, picture=noise if view.sink.wants_picture else None))
        time.sleep(0.005)


def test_a_client_that_does_not_read_holds_nobody_up_and_is_dropped(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "STUCK_S", 0.5)
    stop = threading.Event()
    with served() as view:
        shown = threading.Thread(target=pictures_for, args=(view, stop))
        shown.start()
        try:
            with (
                view.connected(request("/picture.mjpeg"), receive_buffer=4096) as stuck,
                view.connected(request("/picture.mjpeg")) as reader,
            ):
                for _ in range(15):
                    assert read_until(reader, b"\xff\xd9\r\n--edgewright-frame")
                until(
                    lambda: b'viewers{kind="pictures"} 1.0' in view.get("/metrics").body,
                    "dropping the one that is stuck",
                )
                assert is_closed(stuck)
        finally:
            stop.set()
            shown.join()


def test_as_many_watch_as_may_and_the_others_are_told() -> None:
    with served(most_streams=2) as view:
        with view.connected(request("/events")) as first, view.connected(request("/picture.mjpeg")) as second:
            assert read_until(first, b"\n\n").startswith(b"HTTP/1.1 200")
            assert read_until(second, b"--edgewright").startswith(b"HTTP/1.1 200")
            refused = view.get("/events")
            assert (refused.status, refused.headers["retry-after"]) == (503, "5")
            assert view.get("/healthz").status == 503
            assert view.get("/metrics").status == 200
        until(lambda: view.get("/picture.mjpeg", method="HEAD").status == 200, "a place becoming free")


def test_connections_are_limited_too() -> None:
    with served(most_streams=1) as view:
        held = [view.connected() for _ in range(120)]
        clients = [one.__enter__() for one in held]
        try:
            # 1 + 32 are served; up to twice as many are refused, the others find no one.
            for client in clients[80:]:
                assert is_closed(client)
        finally:
            for one in held:
                one.__exit__(None, None, None)
        until(lambda: view.get("/status.json").status == 200, "being served again")


def test_it_closes_at_once_with_clients_of_every_kind_and_frees_its_port() -> None:
    before = set(threading.enumerate())
    with served() as view:
        view.show(output())
        kinds = (request("/events"), request("/picture.mjpeg"), b"GET / HT", b"")
        held = [view.connected(kind) for kind in kinds for _ in range(5)]
        clients = [one.__enter__() for one in held]
        read_until(clients[0], b"\n\n")
        start = time.monotonic()
        view.sink.close()
        view.sink.close()
        assert time.monotonic() - start < 10
        assert b"event: over" in read_to_end(clients[0])
        assert all(is_closed(client) for client in clients)
        for one in held:
            one.__exit__(None, None, None)
        # Outputs may still come while a run is being stopped.
        view.show(output(1))
        listen(Address("127.0.0.1", view.port)).close()
    until(lambda: set(threading.enumerate()) <= before, "the end of its threads")


def test_a_picture_is_encoded_once_for_all_and_only_while_somebody_watches(monkeypatch: pytest.MonkeyPatch) -> None:
    encoded: list[object] = []
    encode = cv2.imencode

    def counted(*words: Any) -> Any:
        encoded.append(words)
        return encode(*words)

    monkeypatch.setattr(cv2, "imencode", counted)
    with served() as view:
        view.show(output(0))
        assert not view.sink.wants_picture
        with view.connected(request("/picture.mjpeg")) as first, view.connected(request("/picture.mjpeg")) as second:
            watching = lambda: b'viewers{kind="pictures"} 2.0' in view.get("/metrics").body  # noqa: E731
            until(watching, "two watching")
            until(lambda: view.sink.wants_picture, "wanting a picture")
            view.show(output(200))
            # By the rate of 10 a second the next one is not wanted yet.
            assert not view.sink.wants_picture
            jpegs = [read_until(client, b"\xff\xd9") for client in (first, second)]
            for jpeg in jpegs:
                picture = cv2.imdecode(np.frombuffer(jpeg[jpeg.index(b"\xff\xd8") :], np.uint8), cv2.IMREAD_COLOR)
                assert picture is not None
                assert picture.shape == (96, 128, 3)
                assert abs(int(picture[90, 120, 0]) - 200) <= 2
            assert len(encoded) == 1
        until(lambda: b'viewers{kind="pictures"} 0.0' in view.get("/metrics").body, "nobody watching")
        time.sleep(0.2)
        assert not view.sink.wants_picture
        # Who comes later sees no picture of then.
        with view.connected(request("/picture.mjpeg")) as third:
            until(lambda: view.sink.wants_picture, "wanting a picture")
            view.show(output(100))
            jpeg = read_until(third, b"\xff\xd9")
            picture = cv2.imdecode(np.frombuffer(jpeg[jpeg.index(b"\xff\xd8") :], np.uint8), cv2.IMREAD_COLOR)
            assert picture is not None
            assert abs(int(picture[90, 120, 0]) - 100) <= 2


def test_the_picture_of_a_source_that_is_not_there_is_not_found() -> None:
    with served() as view:
        assert view.get("/picture.mjpeg?source=nobody").status == 404
        assert view.get(f"/picture.mjpeg?source={SOURCE.replace('*', '%2A')}", method="HEAD").status == 200
