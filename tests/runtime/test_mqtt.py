"""Messages to a real broker on this machine, which is killed and started again."""

import json
import logging
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from tests.tiny import blob_image, tiny_bundle

from edgewright.pipeline.cli import main
from edgewright.runtime.errors import SinkError, UsageError
from edgewright.runtime.results import Detections, Frame
from edgewright.runtime.sinks import Output, Sink, SinkContext, open_sink
from edgewright.runtime.sinks._lenient import LenientSink

paho = pytest.importorskip("paho.mqtt.client")
mqtt = pytest.importorskip("edgewright.runtime.sinks.mqtt")
PROGRAM = shutil.which("mosquitto") or ("/usr/sbin/mosquitto" if Path("/usr/sbin/mosquitto").exists() else None)
needs_broker = pytest.mark.skipif(PROGRAM is None, reason="the broker mosquitto is not installed")
FOUND = Detections(np.array([[1, 2, 30, 40]], np.float32), np.array([0.9], np.float32), np.array([0]))
LIVE, FILE = (SinkContext(("bolt",), live=live) for live in (True, False))


def output(index: int) -> Output:
    frame = Frame(np.zeros((48, 64, 3), np.uint8), index, time.monotonic(), "belt")
    return Output(frame, FOUND, 0.01, {"infer": 0.02})


def eventually(what: Callable[[], bool], seconds: float = 30.0) -> bool:
    deadline = time.monotonic() + seconds
    while not what() and time.monotonic() < deadline:
        time.sleep(0.02)
    return what()


class Broker:
    """mosquitto on a free port of this machine."""

    def __init__(self, folder: Path, *lines: str) -> None:
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port: int = free.getsockname()[1]
        self._config = folder / "mosquitto.conf"
        auth = () if any(line.startswith("password_file") for line in lines) else ("allow_anonymous true",)
        # Started by root, it would become a user who may not read the files of the test.
        user = ("user root",) if os.geteuid() == 0 else ()
        self._config.write_text("\n".join((f"listener {self.port} 127.0.0.1", *user, *auth, *lines)) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> "Broker":
        assert PROGRAM is not None
        self._process = subprocess.Popen(
            [PROGRAM, "-c", str(self._config)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        assert eventually(self._answers)
        return self

    def kill(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait()

    def _answers(self) -> bool:
        with socket.socket() as probe:
            return probe.connect_ex(("127.0.0.1", self.port)) == 0


class Listener:
    """Another client, that keeps every message of all topics."""

    def __init__(self, port: int, **login: str) -> None:
        self.messages: list[tuple[str, bytes]] = []
        self._client = paho.Client(paho.CallbackAPIVersion.VERSION2)
        if login:
            self._client.username_pw_set(**login)
        self.ready = False
        self._client.on_connect = lambda *_: self._client.subscribe("#", qos=1)
        self._client.on_subscribe = self._subscribed
        self._client.on_message = lambda _c, _d, message: self.messages.append((message.topic, message.payload))
        self._client.connect("127.0.0.1", port)
        self._client.loop_start()
        assert eventually(lambda: self.ready)

    def _subscribed(self, *_: Any) -> None:
        self.ready = True

    def frames(self) -> list[int]:
        return [json.loads(payload)["frame"] for topic, payload in self.messages if topic == "plant/line1"]

    def status(self) -> list[bytes]:
        return [payload for topic, payload in self.messages if topic == "plant/line1/status"]

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()


@pytest.fixture(name="broker")
def broker_fixture(tmp_path: Path) -> Iterator[Broker]:
    broker = Broker(tmp_path).start()
    yield broker
    broker.kill()


def uri(broker: Broker, options: str = "") -> str:
    return f"mqtt://127.0.0.1:{broker.port}/plant/line1{options}"


@needs_broker
@pytest.mark.parametrize("qos", [0, 1, 2])
def test_every_frame_is_a_message_and_the_status_says_whether_the_run_lasts(broker: Broker, qos: int) -> None:
    listener = Listener(broker.port)
    with open_sink(uri(broker, f"?qos={qos}"), FILE) as sink:
        for index in range(50):
            sink.write(output(index))
    assert eventually(lambda: len(listener.status()) == 2)
    listener.close()
    assert listener.frames() == list(range(50))
    assert listener.status() == [b"online", b"offline"]
    line = json.loads(listener.messages[1][1])
    assert line["detections"] == [{"box": [1.0, 2.0, 30.0, 40.0], "score": 0.9, "class_id": 0, "label": "bolt"}]


@needs_broker
def test_a_run_sends_what_it_finds(broker: Broker, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tiny_bundle(tmp_path)
    cv2.imwrite(str(tmp_path / "bolt.png"), blob_image())
    listener = Listener(broker.port)
    words = ["run", str(tmp_path / "bundle"), "--source", str(tmp_path / "bolt.png"), "--sink", uri(broker, "?qos=1")]
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 0, capsys.readouterr().err
    assert eventually(lambda: listener.status()[-1:] == [b"offline"])
    listener.close()
    (message,) = (json.loads(payload) for topic, payload in listener.messages if topic == "plant/line1")
    assert message["detections"][0]["label"] == "bolt"


@needs_broker
def test_a_broker_that_is_killed_and_comes_back_gets_what_waited(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    sink = open_sink(uri(broker, "?qos=1"), LIVE)
    sink.write(output(0))
    assert eventually(lambda: sink._waiting == 0)  # type: ignore[attr-defined]
    broker.kill()
    assert eventually(lambda: not sink._connected)  # type: ignore[attr-defined]
    started = time.monotonic()
    for index in range(1, 20):
        sink.write(output(index))
    # A file's run would wait for 30 s.
    assert time.monotonic() - started < 25
    broker.start()
    listener = Listener(broker.port)
    # Some are sent before the listener is there; none is missing at the end.
    assert eventually(lambda: sink._waiting == 0)  # type: ignore[attr-defined]
    sink.write(output(20))
    assert eventually(lambda: 20 in listener.frames())
    sink.close()
    assert eventually(lambda: listener.status()[-1:] == [b"offline"])
    listener.close()
    assert sum("connecting again" in message for message in caplog.messages) == 1


@needs_broker
def test_a_live_run_goes_on_without_a_broker_and_counts_what_is_lost(broker: Broker) -> None:
    for options in ("?qos=1&queue=5", ""):
        lenient = LenientSink(open_sink(uri(broker, options), LIVE), "mqtt")
        inner = lenient._sink
        assert eventually(lambda inner=inner: inner._waiting == 0)  # type: ignore[misc]
        broker.kill()
        assert eventually(lambda inner=inner: not inner._connected)  # type: ignore[misc]
        for index in range(20):
            lenient.write(output(index))
        assert lenient.lost == (15 if options else 20)
        lenient.close()
        broker.start()


@needs_broker
def test_what_was_under_way_when_the_connection_broke_is_counted(
    broker: Broker, caplog: pytest.LogCaptureFixture
) -> None:
    sink = open_sink(uri(broker), LIVE)
    assert eventually(lambda: sink._waiting == 0)  # type: ignore[attr-defined]
    # As many as the library has handed to nobody yet, of which it never says that they are gone.
    sink._handed += 3  # type: ignore[attr-defined]
    broker.kill()
    assert eventually(lambda: sink.lost == 3)
    sink.close()
    assert "3 messages were lost with the connection" in caplog.text


@needs_broker
def test_a_run_of_a_file_ends_when_the_broker_stays_away(broker: Broker, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(mqtt, "_PATIENCE_S", 0.3)
    sink = open_sink(uri(broker), FILE)
    broker.kill()
    assert eventually(lambda: not sink._connected)  # type: ignore[attr-defined]
    with pytest.raises(SinkError, match=r"is not connected .*, and with qos=0 nothing waits for it; use qos=1"):
        sink.write(output(0))
    sink.close()


@needs_broker
def test_a_run_that_dies_is_said_to_be_offline_by_the_broker(broker: Broker, tmp_path: Path) -> None:
    listener = Listener(broker.port)
    sink = open_sink(uri(broker), LIVE)
    assert eventually(lambda: listener.status() == [b"online"])
    sink._client.socket().shutdown(socket.SHUT_RDWR)  # type: ignore[attr-defined]
    assert eventually(lambda: listener.status()[:2] == [b"online", b"offline"])
    assert eventually(lambda: listener.status()[-1] == b"online")
    sink.close()
    listener.close()


@needs_broker
def test_user_and_password_come_from_the_environment_and_are_never_shown(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    passwords = tmp_path / "passwords"
    passwords.touch(mode=0o600)
    subprocess.run(["mosquitto_passwd", "-b", str(passwords), "line", "s3cr3t"], check=True, capture_output=True)
    passwords.chmod(0o644)
    broker = Broker(tmp_path, f"password_file {passwords}").start()
    try:
        monkeypatch.setenv(mqtt.USER, "line")
        monkeypatch.setenv(mqtt.PASSWORD, "wr0ng")
        with pytest.raises(SinkError, match="the broker refuses: Not authorized; check EDGEWRIGHT_MQTT_USER") as failed:
            open_sink(uri(broker), LIVE)
        monkeypatch.setenv(mqtt.PASSWORD, "s3cr3t")
        listener = Listener(broker.port, username="line", password="s3cr3t")
        with open_sink(uri(broker), FILE) as sink:
            sink.write(output(3))
        assert eventually(lambda: listener.frames() == [3])
        listener.close()
    finally:
        broker.kill()
    assert not any(word in " ".join((*caplog.messages, str(failed.value))) for word in ("s3cr3t", "wr0ng"))


@needs_broker
def test_over_tls_the_certificate_is_checked(tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not installed")
    key, certificate = tmp_path / "key.pem", tmp_path / "ca.pem"
    command = "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1"
    subprocess.run(
        ["openssl", *command.split(), "-keyout", str(key), "-out", str(certificate)], check=True, capture_output=True
    )
    key.chmod(0o644)
    broker = Broker(tmp_path, f"certfile {certificate}", f"keyfile {key}").start()
    try:
        address = f"mqtts://127.0.0.1:{broker.port}/plant/line1?qos=1"
        with pytest.raises(SinkError, match=r"cannot be reached: .*certificate verify failed"):
            open_sink(address, FILE)
        with open_sink(f"{address}&ca={certificate}", FILE) as sink:
            sink.write(output(0))
            assert eventually(lambda: sink._waiting == 0)  # type: ignore[attr-defined]
    finally:
        broker.kill()


def test_a_broker_that_is_not_there_is_one_clear_error_for_a_file_and_no_obstacle_for_a_camera(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(mqtt, "_CONNECT_S", 0.5)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(SinkError, match=r"mqtt://127.0.0.1:\d+/a cannot be reached: .*refused; check host, port"):
        open_sink(f"mqtt://127.0.0.1:{port}/a", FILE)
    sink: Sink = open_sink(f"mqtt:127.0.0.1:{port}/a?qos=1", LIVE)
    sink.write(output(0))
    sink.close()
    assert "it is tried again" in caplog.text
    assert "1 messages were not taken by the broker until the end" in caplog.text


@pytest.mark.parametrize(
    ("address", "sentence"),
    [
        ("mqtt://host", r"sink mqtt wants mqtt://HOST\[:PORT\]/TOPIC"),
        ("mqtt://user:s3cr3t@host/a", "names user or password, which belong into the environment"),
        ("mqtt://host/a/#", "a topic without . and #"),
        ("mqtt://host/a?qos=3", "option qos of sink mqtt is '3'"),
        ("mqtt://host/a?ca=x", "sink mqtt has no option 'ca'"),
        ("mqtts://host/a?ca=/nowhere", "sink mqtts: /nowhere cannot be used"),
        ("mqtts://host/a?key=x", "a key without its certificate"),
    ],
)
def test_bad_addresses_are_refused_without_repeating_a_password(address: str, sentence: str) -> None:
    with pytest.raises(UsageError, match=sentence) as failed:
        open_sink(address, LIVE)
    assert "s3cr3t" not in str(failed.value)
