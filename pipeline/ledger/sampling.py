"""Samples the device while something runs."""

import re
import statistics
import threading
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from pydantic import JsonValue

from edgewright.pipeline.ledger.clocks import clock_gauges
from edgewright.pipeline.ledger.heat import firmware_flags, heat_gauges, throttle_counters
from edgewright.pipeline.ledger.jetson import jetson_linux
from edgewright.pipeline.ledger.load import load_counters
from edgewright.pipeline.ledger.nvml import Nvml
from edgewright.pipeline.ledger.power import energy_counters, energy_ranges, module_rails, rail_gauges
from edgewright.pipeline.ledger.tegrastats import TegrastatsReader

_GPU_WATTS = re.compile(r"gpu\d+_watts")

# A sample may cost this share of the time until the next one.
_MOST_LOAD = 0.01


@dataclass(frozen=True)
class Gauge:
    """What a reading was while the benchmark ran."""

    least: float
    median: float
    most: float
    mean: float


@dataclass(frozen=True)
class Record:
    """What happened in `seconds`: gauges, how far counters went, and what hardware complained of.

    `sampler_load` is the share of one core's time that sampling took. `power` is (watts, where they were measured), None
    without a sensor for the whole device.
    """

    seconds: float
    samples: int
    sampler_load: float
    gauges: Mapping[str, Gauge] = field(default_factory=dict)
    counters: Mapping[str, float] = field(default_factory=dict)
    complaints: tuple[str, ...] = ()
    power: tuple[float, str] | None = None

    def as_json(self) -> dict[str, JsonValue]:
        """For a report's state: [least, median, most] of every gauge."""
        return {
            "seconds": round(self.seconds, 3),
            "samples": self.samples,
            "sampler_load": round(self.sampler_load, 5),
            "gauges": {name: [_short(g.least), _short(g.median), _short(g.most)] for name, g in self.gauges.items()},
            "counters": {name: _short(value) for name, value in self.counters.items()},
            "complaints": list[JsonValue](self.complaints),
        }


class Ledger:
    """`with Ledger() as ledger: ...` samples gauges in a thread; `record()` then says what the device did meanwhile.

    Counters are read before and after only. The thread sleeps at least a hundred times as long as a sample took.
    """

    def __init__(self, root: Path = Path("/"), *, interval_s: float = 0.5) -> None:
        self._root = root
        self._interval_s = interval_s
        self._readings: list[Mapping[str, float]] = []
        self._complaints: dict[str, None] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample_on, name="ledger", daemon=True)
        self._cost_s = 0.0
        self._before: Mapping[str, float] = {}
        self._after: Mapping[str, float] = {}
        self._nvml: Nvml | None = None
        self._tegrastats: TegrastatsReader | None = None

    def __enter__(self) -> "Ledger":
        if self._root == Path("/"):
            self._nvml = Nvml()
            self._tegrastats = TegrastatsReader() if jetson_linux(self._root) else None
        self._before = _counters(self._root)
        self._started_s = self._stopped_s = time.monotonic()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, err: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._stop.set()
        self._thread.join()
        self._sample()  # so that the end is seen however long the pause was
        self._stopped_s = time.monotonic()
        self._after = _counters(self._root)
        for source in (self._nvml, self._tegrastats):
            if source is not None:
                source.close()

    def record(self) -> Record:
        """What the device did from entering to leaving."""
        seconds = max(self._stopped_s - self._started_s, 1e-9)
        gauges = _gauges(self._readings)
        counters = _increases(self._before, self._after, energy_ranges(self._root))
        return Record(
            seconds=seconds,
            samples=len(self._readings),
            sampler_load=self._cost_s / seconds,
            gauges=gauges,
            counters=counters,
            complaints=tuple(self._complaints),
            power=_power(gauges, counters, seconds),
        )

    def _sample_on(self) -> None:
        while True:
            started_s = time.thread_time()
            self._sample()
            cost_s = time.thread_time() - started_s
            self._cost_s += cost_s
            if self._stop.wait(max(self._interval_s, cost_s / _MOST_LOAD)):
                return

    def _sample(self) -> None:
        readers: tuple[Callable[[Path], dict[str, float]], ...] = (clock_gauges, heat_gauges, rail_gauges)
        reading = dict(self._tegrastats.gauges()) if self._tegrastats else {}
        for reader in readers:
            reading |= reader(self._root)
        complaints = list(firmware_flags(self._root))
        if self._nvml is not None:
            reading |= self._nvml.gauges()
            complaints += self._nvml.slowdowns()
        self._readings.append(reading)
        self._complaints |= dict.fromkeys(complaints)


def _counters(root: Path) -> dict[str, float]:
    return {**throttle_counters(root), **load_counters(root), **energy_counters(root)}


def _gauges(readings: list[Mapping[str, float]]) -> dict[str, Gauge]:
    names = dict.fromkeys(name for reading in readings for name in reading)
    series = {name: [reading[name] for reading in readings if name in reading] for name in names}
    return {
        name: Gauge(min(values), statistics.median(values), max(values), statistics.fmean(values))
        for name, values in series.items()
    }


def _increases(
    before: Mapping[str, float], after: Mapping[str, float], ranges: Mapping[str, float]
) -> dict[str, float]:
    """How far every counter went; one that started again from 0 has its range added."""
    gone = {name: after[name] - before[name] for name in before if name in after}
    return {name: value + ranges.get(name, 0.0) if value < 0 else value for name, value in gone.items()}


def _power(gauges: Mapping[str, Gauge], counters: Mapping[str, float], seconds: float) -> tuple[float, str] | None:
    """The mean power of the device: of a module's rails, else of processor packages and GPUs together."""
    rails = module_rails({name: gauge.mean for name, gauge in gauges.items()})
    if rails:
        return sum(gauges[f"{name}_watts"].mean for name in rails), " + ".join(rails)
    parts = {name.removesuffix("_joules"): value / seconds for name, value in counters.items() if "_joules" in name}
    gpus = {name.removesuffix("_watts"): gauge.mean for name, gauge in gauges.items() if _GPU_WATTS.fullmatch(name)}
    return (sum((*parts.values(), *gpus.values())), " + ".join((*parts, *gpus))) if parts or gpus else None


def _short(value: float) -> float:
    return float(f"{value:.6g}")
