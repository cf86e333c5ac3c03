"""A sink whose failures do not end the run: what it could not take is counted, and it is tried again with the next output."""

import logging

from edgewright.runtime.errors import SinkError
from edgewright.runtime.sinks import Output, Sink

_log = logging.getLogger(__name__)


class LenientSink(Sink):
    """`sink`, and what it refuses counts as `lost`. The log says when that begins and ends."""

    def __init__(self, sink: Sink, name: str) -> None:
        self._left_out = 0
        self._sink = sink
        self._name = name
        self._refused = 0

    @property
    def lost(self) -> int:
        return self._left_out + self._sink.lost

    @property
    def wants_picture(self) -> bool:
        return self._sink.wants_picture

    def write(self, output: Output) -> None:
        try:
            self._sink.write(output)
        except SinkError as err:
            self._left_out += 1
            self._refused += 1
            if self._refused == 1:
                _log.warning("sink %s: %s; outputs are left out until it works again", self._name, err)
            return
        if self._refused:
            _log.warning("sink %s works again; %d outputs are missing", self._name, self._refused)
            self._refused = 0

    def close(self) -> None:
        self._sink.close()
