"""The run's numbers for Prometheus, in a registry of their own."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, get_args

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector
from prometheus_client.exposition import choose_encoder
from prometheus_client.metrics_core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from edgewright.runtime.results import Detections
from edgewright.runtime.sinks import Output
from edgewright.runtime.status import SourceStatus
from edgewright.runtime.supervision import SourceState
from edgewright.runtime.web.health import complaints
from edgewright.runtime.web.view import RunView

# Seconds, from a step of the host on a fast board to a frame of a heavy network on a slow one.
_BUCKETS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0)


class Metrics:
    """Counts outputs in the loop's thread and writes them down in another; `viewers` tells who watches, by kind."""

    def __init__(self, view: RunView, viewers: Callable[[], Mapping[str, int]], *, silence_s: float) -> None:
        self._registry = CollectorRegistry()
        self._labels = view.labels
        self._stages = Histogram(
            "edgewright_stage_duration_seconds",
            "How long a frame took in each stage.",
            ("source", "stage"),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._age = Histogram(
            "edgewright_frame_age_seconds",
            "How old a frame was, since its capture, when it reached the sinks.",
            ("source",),
            buckets=_BUCKETS,
            registry=self._registry,
        )
        self._objects = Counter(
            "edgewright_detections", "Objects that were found.", ("source", "label"), registry=self._registry
        )
        self._registry.register(_RunCollector(view, viewers, silence_s))
        ProcessCollector(registry=self._registry)

    def note(self, source: str, output: Output) -> None:
        """Count one output of `source`."""
        self._age.labels(source).observe(output.age_s)
        for stage, seconds in output.latency_s.items():
            self._stages.labels(source, stage).observe(seconds)
        if isinstance(output.result, Detections) and len(output.result):
            class_ids, counts = np.unique(output.result.class_ids, return_counts=True)
            for class_id, count in zip(class_ids.tolist(), counts.tolist(), strict=True):
                self._objects.labels(source, self._name(class_id)).inc(count)

    def text(self, accepted: str) -> tuple[bytes, str]:
        """The metrics in the format that the header Accept asks for, and its content type."""
        encoder, content_type = choose_encoder(accepted)
        return encoder(self._registry), content_type

    def _name(self, class_id: int) -> str:
        return self._labels[class_id] if 0 <= class_id < len(self._labels) else str(class_id)


class _RunCollector(Collector):
    """What the run counts itself, asked for when it is scraped."""

    def __init__(self, view: RunView, viewers: Callable[[], Mapping[str, int]], silence_s: float) -> None:
        self._view = view
        self._viewers = viewers
        self._silence_s = silence_s

    def collect(self) -> Iterator[Metric]:
        status = self._view.status()
        yield from _of_sources(status.sources)
        frames = {name: count for name, (count, _) in self._view.counted().items()}
        yield _counter("frames", "Frames that came out.", "source", frames)
        silent = {source.name: self._view.silent_s(source.name) for source in status.sources}
        yield _gauge("source_silence_seconds", "For how long no frame of the source came out.", "source", silent)
        yield _counter("events", "What went wrong and was put right.", "event", status.events)
        yield _gauge("web_viewers", "Open streams of the web view.", "kind", self._viewers())
        healthy = not complaints(self._view, status, silence_s=self._silence_s)
        yield GaugeMetricFamily("edgewright_healthy", "1 when /healthz answers 200.", value=float(healthy))
        about = {key: str(status.settings.get(key) or "") for key in ("backend", "precision")}
        yield InfoMetricFamily("edgewright_run", "What runs.", value={"network": status.network, **about})
        if status.watched:
            yield from _of_watch(status.watched)


def _of_sources(sources: Sequence[SourceStatus]) -> Iterator[Metric]:
    dropped = {source.name: source.dropped for source in sources}
    yield _counter("dropped_frames", "Frames that a newer one replaced before the network had time.", "source", dropped)
    skipped = {source.name: source.skipped for source in sources}
    yield _counter("skipped_frames", "Frames that could not be read.", "source", skipped)
    state = GaugeMetricFamily("edgewright_source_state", "1 for the state of the source.", labels=("source", "state"))
    for source in sources:
        for known in get_args(SourceState):
            state.add_metric((source.name, known), float(source.state == known))
    yield state


def _of_watch(watched: Mapping[str, Any]) -> Iterator[Metric]:
    by_source = watched.get("by_source")
    accuracy = GaugeMetricFamily(
        "edgewright_live_accuracy",
        "Accuracy on the last labelled frames.",
        labels=("metric",) if by_source is None else ("source", "metric"),
    )
    for source, one in ({"": watched} if by_source is None else by_source).items():
        for metric, found in (one["live_accuracy"] or {}).get("window", {}).items():
            if found["value"] is not None:
                accuracy.add_metric((metric,) if by_source is None else (source, metric), found["value"])
    yield accuracy
    signals = (watched["drift"] or {}).get("signals", {})
    # A signal that may not move at all has no ratio; one beyond such a limit is among the alarms.
    far = {name: one["distance"] / one["limit"] for name, one in signals.items() if one["limit"] > 0}
    yield _gauge("drift_ratio", "Distance from the reference over what is usual.", "signal", far)
    yield GaugeMetricFamily("edgewright_alarms", "Alarms that are on.", value=len(watched["alarms"]))


def _counter(name: str, about: str, label: str, values: Mapping[str, float]) -> Metric:
    family = CounterMetricFamily(f"edgewright_{name}", about, labels=(label,))
    for key, value in values.items():
        family.add_metric((key,), value)
    return family


def _gauge(name: str, about: str, label: str, values: Mapping[str, float | None]) -> Metric:
    family = GaugeMetricFamily(f"edgewright_{name}", about, labels=(label,))
    for key, value in values.items():
        if value is not None:
            family.add_metric((key,), value)
    return family
