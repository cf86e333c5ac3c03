"""Sinks whose failures do not end a run."""

import logging

import pytest
from tests.runtime.test_loop import Belt, Keep, OneBolt, run

from edgewright.runtime.errors import SinkError
from edgewright.runtime.sinks import Output, Sink
from edgewright.runtime.sinks._lenient import LenientSink


class FullFrom2To3(Keep):
    """A disk that is full while frames 2 and 3 come."""

    def write(self, output: Output) -> None:
        if output.frame.index in (2, 3):
            raise SinkError("no space left on device")
        super().write(output)


def test_outputs_that_a_sink_refuses_are_counted_and_the_log_says_when_it_begins_and_ends(
    caplog: pytest.LogCaptureFixture,
) -> None:
    full, other = FullFrom2To3(), Keep()
    sink = LenientSink(full, "jsonl:run.jsonl")
    with caplog.at_level(logging.WARNING):
        assert run(Belt(6), OneBolt(), [sink, other]).frames == 6
    assert [output.frame.index for output in full.outputs] == [0, 1, 4, 5]
    assert len(other.outputs) == 6
    assert sink.lost == 2
    assert [record.message for record in caplog.records] == [
        "sink jsonl:run.jsonl: no space left on device; outputs are left out until it works again",
        "sink jsonl:run.jsonl works again; 2 outputs are missing",
    ]


def test_a_reader_of_stdout_that_went_away_ends_the_run_all_the_same() -> None:
    class Closed(Sink):
        def write(self, output: Output) -> None:
            raise BrokenPipeError

    with pytest.raises(BrokenPipeError):
        run(Belt(2), OneBolt(), [LenientSink(Closed(), "jsonl:-")])


def test_pictures_are_drawn_for_a_sink_that_wants_them() -> None:
    inner = Keep(wants_picture=True)
    run(Belt(1), OneBolt(), [LenientSink(inner, "images:out")])
    assert inner.outputs[0].picture is not None
