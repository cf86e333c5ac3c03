"""A message per frame to an MQTT broker: `mqtt://host/plant/line1?qos=1`; `mqtts://` is the same over TLS.

The message is a line of the sink jsonl. `TOPIC/status` holds `online` while the run lasts and `offline` after it, also when it dies.
User and password come from the environment: EDGEWRIGHT_MQTT_USER, EDGEWRIGHT_MQTT_PASSWORD.
"""

import logging
import os
import re
import ssl
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion

from edgewright.runtime.errors import SinkError, UsageError, first_line
from edgewright.runtime.plugins import check_choice
from edgewright.runtime.sinks import Output, Sink, SinkContext
from edgewright.runtime.sinks.jsonl import Masks, encoded, masks_form, record
from edgewright.runtime.uri import number, split_options

_log = logging.getLogger(__name__)
USER, PASSWORD = "EDGEWRIGHT_MQTT_USER", "EDGEWRIGHT_MQTT_PASSWORD"
_PLACE = re.compile(r"(?://)?(?P<host>\[[0-9a-fA-F:.]+\]|[^/:@?#\[\]]+)(?::(?P<port>\d+))?/(?P<topic>.+)", re.DOTALL)
_OPTIONS = ("qos", "queue", "masks", "client")
_TLS_OPTIONS = ("ca", "cert", "key")
# For the first answer of the broker, for it to take what waits while the source can wait too, and at the end.
_CONNECT_S, _PATIENCE_S, _LEAVE_S = 5.0, 30.0, 5.0
_LOOK_S = 0.01


@dataclass(frozen=True)
class Broker:
    """Where messages go, and how: `queue` is the most that may wait to be taken, `client` the name of the connection."""

    host: str
    port: int
    topic: str
    qos: int = 0
    queue: int = 1000
    client: str = ""
    tls: ssl.SSLContext | None = None

    @property
    def name(self) -> str:
        """How it is called in messages."""
        return f"mqtt{'' if self.tls is None else 's'}://{self.host}:{self.port}/{self.topic}"


def from_uri(text: str, context: SinkContext) -> "MqttSink":
    """A sink for a broker on the network, or on this machine, without encryption."""
    return open_mqtt(text, context, tls=False)


def open_mqtt(text: str, context: SinkContext, *, tls: bool) -> "MqttSink":
    """A sink for the broker and topic that `text` names; certificates are checked against those of the system, or `ca`."""
    what = "sink mqtts" if tls else "sink mqtt"
    location, options = split_options(what, text, (*_OPTIONS, *(_TLS_OPTIONS if tls else ())))
    place = _PLACE.fullmatch(location)
    if place is None or {"+", "#", "\0"} & set(place["topic"]):
        where = "names user or password, which belong into the environment" if "@" in location else "is no such place"
        raise UsageError(
            f"{what} wants {what.split()[1]}://HOST[:PORT]/TOPIC, a topic without + and #, and what was given {where}; user and "
            f"password are taken from {USER} and {PASSWORD}"
        )
    check_choice(f"option qos of {what}", options.get("qos", "0"), ("0", "1", "2"))
    broker = Broker(
        place["host"].strip("[]"),
        int(place["port"] or (8883 if tls else 1883)),
        place["topic"],
        qos=int(options.get("qos", "0")),
        queue=round(number(f"queue of {what}", options.get("queue", "1000"), at_least=1, at_most=1e6)),
        client=options.get("client", ""),
        tls=_tls(options) if tls else None,
    )
    return MqttSink(broker, context, masks=masks_form(what, options))


class MqttSink(Sink):
    """Hands messages to a thread of its own that talks to the broker, and connects again when the connection breaks.

    A live run never waits: what the broker does not take in time is refused by a SinkError, which a lenient run counts. Another
    waits for it, so that nothing of a file is lost.
    """

    def __init__(self, broker: Broker, context: SinkContext, *, masks: Masks = "none") -> None:
        self._broker = broker
        self._context = context
        self._masks = masks
        self._lock = threading.Lock()
        self._answered = threading.Event()
        # How many messages were handed to the thread, and how many of them it is through with.
        self._handed = self._through = self._lost = 0
        self._connected = self._closed = False
        self._reason = "no answer"
        self._refused = ""
        self._client = self._configured()
        self._client.connect_async(broker.host, broker.port, keepalive=30)
        self._client.loop_start()
        self._wait_for_the_broker()

    def write(self, output: Output) -> None:
        if not self._context.live:
            self._wait(_PATIENCE_S)
        if self._waiting >= self._broker.queue:
            raise SinkError(f"{self._broker.name}: {self._waiting} messages wait already, and the broker takes none")
        if not self._connected and self._broker.qos == 0:
            raise SinkError(
                f"{self._broker.name} is not connected ({self._reason}), and with qos=0 nothing waits for it; use qos=1"
            )
        self._publish(self._broker.topic, encoded(record(output, self._context.labels, masks=self._masks))[:-1])

    def close(self) -> None:
        if self._closed:
            return
        self._closed = True
        self._drain()
        left = self._waiting
        if self._connected:
            self._publish(f"{self._broker.topic}/status", b"offline", qos=1, retain=True)
            self._drain()
        self._client.disconnect()
        self._client.loop_stop()
        if left:
            sentence = (
                f"{self._broker.name}: {left} messages were not taken by the broker until the end ({self._reason})"
            )
            if not self._context.live:
                raise SinkError(sentence)
            _log.warning("%s", sentence)

    @property
    def lost(self) -> int:
        return self._lost

    @property
    def _waiting(self) -> int:
        with self._lock:
            return self._handed - self._through

    def _publish(self, topic: str, payload: bytes, *, qos: int | None = None, retain: bool = False) -> None:
        with self._lock:
            self._handed += 1
        self._client.publish(topic, payload, qos=self._broker.qos if qos is None else qos, retain=retain)

    def _wait(self, seconds: float) -> None:
        """Until there is room and somebody who takes the message, but no longer than `seconds` without any progress."""
        through, since = self._through, time.monotonic()
        while self._waiting >= self._broker.queue or (not self._connected and self._broker.qos == 0):
            if self._through != through:
                through, since = self._through, time.monotonic()
            if time.monotonic() - since > seconds:
                return
            time.sleep(_LOOK_S)

    def _drain(self) -> None:
        deadline = time.monotonic() + _LEAVE_S
        while self._connected and self._waiting and time.monotonic() < deadline:
            time.sleep(_LOOK_S)

    def _wait_for_the_broker(self) -> None:
        self._answered.wait(_CONNECT_S)
        if self._connected:
            return
        if self._refused or not self._context.live:
            self._client.loop_stop()
            advice = f"check {USER} and {PASSWORD}" if self._refused else "check host, port and whether it runs"
            raise SinkError(f"{self._broker.name} cannot be reached: {self._refused or self._reason}; {advice}")
        _log.warning("%s cannot be reached (%s); it is tried again", self._broker.name, self._reason)

    def _configured(self) -> paho.Client:
        client = paho.Client(CallbackAPIVersion.VERSION2, client_id=self._broker.client)
        if USER in os.environ:
            client.username_pw_set(os.environ[USER], os.environ.get(PASSWORD))
        if self._broker.tls is not None:
            client.tls_set_context(self._broker.tls)
        client.reconnect_delay_set(min_delay=1, max_delay=30)
        # The bound is that of `write`, which knows whether there is time to wait.
        client.max_queued_messages_set(0)
        client.will_set(f"{self._broker.topic}/status", b"offline", qos=1, retain=True)
        client.on_connect = self._on_connect
        client.on_connect_fail = self._on_connect_fail
        client.on_disconnect = self._on_disconnect
        client.on_publish = self._on_publish
        return client

    def _on_connect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._reason = self._refused = f"the broker refuses: {reason}"
        else:
            self._connected = True
            self._publish(f"{self._broker.topic}/status", b"online", qos=1, retain=True)
        self._answered.set()

    def _on_connect_fail(self, _client: Any, _data: Any) -> None:
        # The library calls this where it handles the error, and does not say which.
        error = sys.exc_info()[1]
        self._reason = first_line(error) if error is not None else "no connection"

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if self._connected and not self._closed:
            self._reason = f"the connection broke: {reason}"
            _log.warning("%s: %s; connecting again", self._broker.name, self._reason)
        self._connected = False
        if self._broker.qos == 0:
            # Nobody confirms those, and the library forgets them.
            with self._lock:
                lost, self._through = self._handed - self._through, self._handed
                self._lost += lost
            if lost and not self._closed:
                _log.warning("%s: %d messages were lost with the connection", self._broker.name, lost)

    def _on_publish(self, *_: Any) -> None:
        with self._lock:
            self._through += 1


def _tls(options: Mapping[str, str]) -> ssl.SSLContext:
    if ("key" in options) and ("cert" not in options):
        raise UsageError("sink mqtts has a key without its certificate; say cert=FILE too")
    try:
        context = ssl.create_default_context(cafile=options.get("ca"))
        if "cert" in options:
            context.load_cert_chain(options["cert"], options.get("key"))
    except OSError as err:
        files = ", ".join(options[name] for name in _TLS_OPTIONS if name in options)
        raise UsageError(f"sink mqtts: {files} cannot be used ({first_line(err)}); give PEM files") from err
    return context
