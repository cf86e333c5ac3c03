"""A message per frame to an MQTT broker over TLS: `mqtts://host/plant/line1?ca=plant-ca.pem`, with the options of mqtt."""

from edgewright.runtime.sinks import SinkContext
from edgewright.runtime.sinks.mqtt import MqttSink, open_mqtt


def from_uri(text: str, context: SinkContext) -> MqttSink:
    """A sink for a broker whose certificate is checked; `cert` and `key` are those of this client."""
    return open_mqtt(text, context, tls=True)
