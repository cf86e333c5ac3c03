"""What the web view says of a run: figures, events, metrics and health."""

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as open_metrics
from prometheus_client.parser import text_string_to_metric_families as prometheus
from tests.web import SOURCE, one_bolt, output, read_until, request, served, until

from edgewright.runtime.draw import class_color
from edgewright.runtime.results import Detections, PanopticMap, Segment, SemanticMap
from edgewright.runtime.sinks import SinkContext
from edgewright.runtime.sinks.web import WebSink
from edgewright.runtime.status import RunStatus, SourceStatus
from edgewright.runtime.supervision import SourceState
from edgewright.runtime.web import view
from edgewright.runtime.web.address import Address
from edgewright.runtime.web.view import RunView


def test_the_status_says_what_runs_how_fast_and_what_was_found() -> None:
    with served() as web:
        web.run[0] = replace(
            web.run[0], sources=(SourceStatus(SOURCE, "running", dropped=7, skipped=2),), events={"restarts": 3}
        )
        web.show(*(output(number) for number in range(20)))
        status = web.json("/status.json")
        assert (status["network"], status["settings"]["backend"], status["events"]) == ("gate", "ort", {"restarts": 3})
        assert status["health"] == {"ok": True, "reasons": []}
        (source,) = status["sources"]
        assert (source["name"], source["state"], source["frames"], source["objects"]) == (SOURCE, "running", 20, 20)
        assert (source["dropped"], source["skipped"], source["size_hw"]) == (7, 2, [96, 128])
        assert source["age_ms"] == {"p50": 40.0, "p95": 40.0}
        assert source["stages"] == {"capture": {"p50": 2.0, "p95": 2.0}, "infer": {"p50": 30.0, "p95": 30.0}}
        assert source["frames_per_s"] > 0
        blue, green, red = class_color(0)
        assert source["result"]["frame"] == 19
        assert source["result"]["detections"] == [
            {
                "box": [10.0, 20.0, 40.0, 60.0],
                "score": 0.9,
                "class_id": 0,
                "label": "bolt",
                "color": f"#{red:02x}{green:02x}{blue:02x}",
            }
        ]


def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    now = [1000.0]
    monkeypatch.setattr("edgewright.runtime.web.view.time.monotonic", lambda: now[0])
    return now


def test_rates_and_latencies_are_those_of_the_last_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = clock(monkeypatch)
    shown = RunView((), SOURCE, None)
    for number in range(100):
        # Ten frames a second, and after five seconds they take twice as long.
        now[0] += 0.1
        shown.note(replace(output(), latency_s={"infer": 0.01 if number < 50 else 0.02, "prepare": 0.001}))
    source = shown.snapshot(shown.status(), results=False)["sources"][0]
    assert source["frames_per_s"] == pytest.approx(10, abs=0.01)
    assert source["stages"]["infer"] == {"p50": 20.0, "p95": 20.0}
    # In the order in which a frame passes them.
    assert list(source["stages"]) == ["prepare", "infer"]
    now[0] += view.WINDOW_S + 1
    source = shown.snapshot(shown.status(), results=False)["sources"][0]
    assert (source["frames_per_s"], source["age_ms"], source["stages"], source["silent_s"]) == (0.0, None, {}, 6.0)
    assert source["frames"] == 100


def test_frames_belong_to_the_source_that_they_name_or_to_the_only_one() -> None:
    states = (SourceStatus("door", "running"), SourceStatus("yard", "stalled"))
    shown = RunView((), "door", lambda: RunStatus("", {}, states, {}))
    assert [shown.note(output(source=name)) for name in ("yard", "door", "yard")] == ["yard", "door", "yard"]
    assert shown.counted() == {"yard": (2, 2), "door": (1, 1)}
    folder = RunView((), "pictures", lambda: RunStatus("", {}, (SourceStatus("pictures", "running"),), {}))
    assert folder.note(output(source="pictures/1.png")) == folder.note(output(source="pictures/2.png")) == "pictures"


def result_of(found: Any) -> dict[str, Any]:
    with served() as web:
        web.show(output(result=found))
        result: dict[str, Any] = web.json("/status.json")["sources"][0]["result"]
        return result


def test_maps_are_shown_as_their_classes_and_segments() -> None:
    class_ids = np.zeros((96, 128), np.int64)
    class_ids[:48] = 2
    semantic = result_of(SemanticMap(class_ids))["semantic"]
    assert [(one["label"], one["pixels"]) for one in semantic] == [("bolt", 48 * 128), ("washer", 48 * 128)]
    segment_ids = np.zeros((96, 128), np.int32)
    segment_ids[:12] = 1
    panoptic = result_of(PanopticMap(segment_ids, (Segment(1, 1, True, 0.5),)))["panoptic"]
    assert [(one["label"], one["score"], one["area"]) for one in panoptic] == [("nut", 0.5, 12 * 128)]
    assert all(one["color"].startswith("#") for one in (*semantic, *panoptic))


def test_of_many_objects_the_surest_are_shown() -> None:
    scores = np.random.default_rng(0).permutation(np.linspace(0.1, 0.9, 60)).astype(np.float32)
    many = Detections(np.tile(np.array([[1, 2, 3, 4]], np.float32), (60, 1)), scores, np.arange(60, dtype=np.int64))
    result = result_of(many)
    shown = [one["score"] for one in result["detections"]]
    assert shown == sorted(np.round(scores.astype(float), 4).tolist(), reverse=True)[:50]
    assert result["left_out"] == 10
    # Classes that the labels do not have.
    assert {one["label"] for one in result["detections"]} == {"bolt", "nut", "washer", None} or len(shown) == 50


def test_what_is_not_finite_does_not_reach_json() -> None:
    box = np.array([[math.nan, 0, math.inf, 1]], np.float32)
    result = result_of(Detections(box, np.array([math.nan], np.float32), np.zeros(1, np.int64)))
    assert result["detections"][0]["box"] == [None, 0.0, None, 1.0]


def events_of(stream: bytes) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in stream.split(b"\n") if line.startswith(b"data: ")]


def test_events_begin_with_the_last_minute_and_go_on() -> None:
    with served() as web, web.connected(request("/events")) as client:
        head = read_until(client, b"\n\n")
        assert b"content-type: text/event-stream" in head
        assert b"retry: 2000" in head
        (first,) = events_of(head)
        assert first["history"] == [] or set(first["history"][0]) == {SOURCE}
        numbers = []
        for number in range(3):
            web.show(output(number))
            (event,) = events_of(read_until(client, b"\n\n"))
            assert "history" not in event
            numbers.append(event["sources"][0].get("result", {}).get("frame"))
        assert numbers == sorted(numbers)
        assert numbers[-1] is not None
        with web.connected(request("/events")) as later:
            (first,) = events_of(read_until(later, b"\n\n"))
            assert len(first["history"]) >= 3
            assert first["history"][-1][SOURCE]["stages"] == {"capture": 2.0, "infer": 30.0}


def samples(text: str, parse: Callable[[str], Any] = prometheus) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
    return {
        (sample.name, frozenset(sample.labels.items())): sample.value
        for family in parse(text)
        for sample in family.samples
    }


def value(found: dict[tuple[str, frozenset[tuple[str, str]]], float], name: str, **labels: str) -> float:
    return found[f"edgewright_{name}", frozenset(labels.items())]


def test_metrics_count_frames_stages_and_objects() -> None:
    with served() as web:
        web.run[0] = replace(
            web.run[0], sources=(SourceStatus(SOURCE, "stalled", dropped=7, skipped=2),), events={"restarts": 3}
        )
        web.show(*(output(number) for number in range(5)), output(result=Detections.empty()))
        answer = web.get("/metrics")
        assert answer.headers["content-type"].startswith("text/plain; version=")
        found = samples(answer.body.decode())
        assert value(found, "frames_total", source=SOURCE) == 6
        assert value(found, "detections_total", source=SOURCE, label="bolt") == 5
        assert value(found, "dropped_frames_total", source=SOURCE) == 7
        assert value(found, "skipped_frames_total", source=SOURCE) == 2
        assert value(found, "events_total", event="restarts") == 3
        assert value(found, "source_state", source=SOURCE, state="stalled") == 1
        assert value(found, "source_state", source=SOURCE, state="running") == 0
        assert value(found, "run_info", network="gate", backend="ort", precision="fp32") == 1
        assert value(found, "healthy") == 0
        stage = {"source": SOURCE, "stage": "infer"}
        assert value(found, "stage_duration_seconds_count", **stage) == 6
        assert value(found, "stage_duration_seconds_sum", **stage) == pytest.approx(6 * 0.03)
        assert value(found, "stage_duration_seconds_bucket", **stage, le="0.02") == 0
        assert value(found, "stage_duration_seconds_bucket", **stage, le="0.05") == 6
        assert value(found, "frame_age_seconds_sum", source=SOURCE) == pytest.approx(6 * 0.04)
        assert ("process_resident_memory_bytes", frozenset()) in found


def test_metrics_say_how_accurate_the_run_is_and_how_far_it_drifts() -> None:
    watched = {
        "live_accuracy": {"window": {"AP": {"value": 0.31}, "AP50": {"value": None}}},
        "drift": {"signals": {"brightness": {"distance": 49.0, "limit": 12.25}}},
        "alarms": ["brightness"],
    }
    with served() as web:
        assert b"edgewright_alarms" not in web.get("/metrics").body
        web.run[0] = replace(web.run[0], watched=watched)
        found = samples(web.get("/metrics").body.decode())
        assert value(found, "live_accuracy", metric="AP") == 0.31
        assert ("edgewright_live_accuracy", frozenset({("metric", "AP50")})) not in found
        assert value(found, "drift_ratio", signal="brightness") == 4
        assert value(found, "alarms") == 1
        web.run[0] = replace(web.run[0], watched={"live_accuracy": None, "drift": None, "alarms": []})
        found = samples(web.get("/metrics").body.decode())
        assert value(found, "alarms") == 0
        assert {name for name, _ in found if name in ("edgewright_live_accuracy", "edgewright_drift_ratio")} == set()
        each = {
            name: {"live_accuracy": {"window": {"AP": {"value": ap}}}} for name, ap in (("door", 0.3), ("yard", 0.4))
        }
        several = {"live_accuracy": None, "drift": None, "alarms": ["yard: AP"], "by_source": each}
        web.run[0] = replace(web.run[0], watched=several)
        found = samples(web.get("/metrics").body.decode())
        assert [value(found, "live_accuracy", source=name, metric="AP") for name in ("door", "yard")] == [0.3, 0.4]
        assert value(found, "alarms") == 1


def test_metrics_are_named_as_prometheus_asks_for() -> None:
    """https://prometheus.io/docs/practices/naming/: a prefix, base units, `_total` for what only grows."""
    with served() as web:
        web.show(output())
        families = list(prometheus(web.get("/metrics").body.decode()))
        for family in families:
            assert family.documentation
            assert family.name.startswith(("edgewright_", "process_"))
            assert not family.name.endswith(("_ms", "_milliseconds", "_count"))
            if family.type == "histogram":
                assert family.name.endswith("_seconds")
            if family.type == "counter":
                assert all(sample.name.endswith(("_total", "_created")) for sample in family.samples)
        accept = "application/openmetrics-text; version=1.0.0"
        answer = web.get("/metrics", {"Accept": accept})
        assert answer.headers["content-type"].startswith("application/openmetrics-text")
        assert samples(answer.body.decode(), open_metrics)


def test_two_views_count_apart() -> None:
    with served() as one, served() as other:
        one.show(output())
        assert value(samples(one.get("/metrics").body.decode()), "frames_total", source=SOURCE) == 1
        assert b"edgewright_frames_total{" not in other.get("/metrics").body


def test_health_needs_frames_and_a_source_that_runs() -> None:
    with served(silence_s=3600) as web:
        answer = web.get("/healthz")
        assert answer.status == 503
        assert json.loads(answer.body) == {
            "status": "failing",
            "reasons": [f"no frame of {SOURCE} has come out yet"],
        }
        web.show(output())
        answer = web.get("/healthz")
        assert (answer.status, json.loads(answer.body)) == (200, {"status": "ok", "reasons": []})
        states: tuple[SourceState, ...] = ("stalled", "restarting", "stopped")
        for state in states:
            web.run[0] = replace(web.run[0], sources=(SourceStatus(SOURCE, state),))
            answer = web.get("/healthz")
            assert (answer.status, json.loads(answer.body)["reasons"]) == (503, [f"source {SOURCE} is {state}"])


def test_health_notices_silence() -> None:
    with served(silence_s=0.05) as web:
        web.show(output())
        until(lambda: web.get("/healthz").status == 503, "noticing the silence")
        (reason,) = web.json("/healthz")["reasons"]
        assert reason.startswith(f"no frame of {SOURCE} came out for ")


def test_every_source_must_be_well() -> None:
    states = (SourceStatus("door", "running"), SourceStatus("yard", "running"))
    with served(states=states) as web:
        web.show(output(source="door"))
        assert web.json("/healthz")["reasons"] == ["no frame of yard has come out yet"]
        web.show(output(source="yard"))
        assert web.get("/healthz").status == 200
        assert {source["name"]: source["frames"] for source in web.json("/status.json")["sources"]} == {
            "door": 1,
            "yard": 1,
        }


def test_it_can_be_used_without_a_run() -> None:
    sink = WebSink(Address("127.0.0.1", 0), SinkContext(("bolt",), "clip.mp4"))
    with sink:
        sink.write(output(result=one_bolt()))
        assert sink.url.startswith("http://127.0.0.1:")
