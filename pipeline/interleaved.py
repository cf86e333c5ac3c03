"""A candidate and a baseline measured in turn, in one run: what disturbs one disturbs the other alike."""

import json
import math
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import permutations
from pathlib import Path
from typing import IO, Any

import numpy as np

from edgewright.pipeline.latency import Run, Tell
from edgewright.pipeline.latency_ratio import Floats, Launch, latency_ratio
from edgewright.pipeline.report.schema import Against, LatencyRatio, Scalar, identity_of
from edgewright.runtime.bundle import Bundle
from edgewright.runtime.errors import BackendError
from edgewright.runtime.results import Image

# Every launch starts all processes anew. Three show how launches differ; each costs the time to load the networks.
LAUNCHES = 3
# A block is long enough for the runs after a change of process to be few, and short beside drifts of clock and load.
_BLOCK_S = 0.1
_LEAST_BLOCK_RUNS = 5
_LEAST_ROUNDS = 6
# The first run after another process had the cores and their caches says nothing of a steady loop.
_DISCARDED_RUNS = 1
_PILOT_RUNS = 10
_PERCENTILES = (50, 95, 99)


@dataclass(frozen=True)
class Side:
    """One of the two networks and how it is run."""

    bundle: Bundle
    backend: str
    precision: str


@dataclass(frozen=True)
class Effort:
    """At least `iterations` runs and at least `seconds` of them; `warmup` None: until the time of a run is stable."""

    threads: int | None
    seconds: float
    iterations: int
    warmup: int | None


@dataclass(frozen=True)
class Interleaved:
    """The candidate's runs with what its engine used, how its last process warmed up, and the comparison."""

    runs: list[Run]
    settings: Mapping[str, Scalar]
    warmup_runs: int
    stable: bool | None
    against: Against


@dataclass(frozen=True)
class _Measured:
    """Durations in ms by side: (rounds, runs, stages) of candidate, baseline and control, and what workers said."""

    sides: tuple[Floats, Floats, Floats]
    hellos: tuple[Mapping[str, Any], ...]


def measure_interleaved(
    candidate: Side, baseline: Side, images: Sequence[Image], effort: Effort, *, tell: Tell
) -> Interleaved:
    """The effort is that of each side, spread over `LAUNCHES` launches; BackendError when a process fails."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "images.npz"
        np.savez(path, *images)
        jobs = [_job(side, path, effort) for side in (candidate, baseline, baseline)]
        launches = [_launch(jobs, number, effort, tell) for number in range(LAUNCHES)]
    ours, theirs = (launches[-1].hellos[number] for number in (0, 1))
    return Interleaved(
        runs=[_run(ours["stages"], run) for launch in launches for run in _flat(launch.sides[0])],
        settings=ours["settings"],
        warmup_runs=ours["warmup_runs"],
        stable=ours["stable"],
        against=Against(
            baseline=identity_of(baseline.bundle, theirs["settings"], baseline.precision),
            settings=theirs["settings"],
            launches=LAUNCHES,
            rounds=sum(len(launch.sides[0]) for launch in launches),
            ratios=tuple(_ratios(launches, ours["stages"])),
        ),
    )


def _job(side: Side, images: Path, effort: Effort) -> str:
    return json.dumps({
        "bundle": str(side.bundle.path), "images": str(images), "backend": side.backend, "precision": side.precision,
        "threads": effort.threads, "warmup": effort.warmup, "most_s": max(effort.seconds / LAUNCHES, 1.0),
    })  # fmt: skip


def _launch(jobs: Sequence[str], number: int, effort: Effort, tell: Tell) -> _Measured:
    """One set of fresh processes, which warm up one after the other and then run blocks in every order in turn."""
    tell("starting processes", number / LAUNCHES)
    with ExitStack() as stack:
        workers = [stack.enter_context(_worker()) for _ in jobs]
        hellos = tuple(worker.load(job) for worker, job in zip(workers, jobs, strict=True))
        pilot_ms = max(float(np.median(worker.run(_PILOT_RUNS).sum(axis=1))) for worker in workers)
        runs = max(_LEAST_BLOCK_RUNS, math.ceil(_BLOCK_S * 1e3 / pilot_ms))
        rounds = max(
            _LEAST_ROUNDS,
            math.ceil(effort.seconds * 1e3 / LAUNCHES / (runs * pilot_ms)),
            math.ceil(effort.iterations / LAUNCHES / runs),
        )
        blocks: list[list[Floats]] = [[] for _ in workers]
        orders = list(permutations(range(len(workers))))
        for index in range(rounds):
            tell("measuring", (number + index / rounds) / LAUNCHES)
            for side in orders[index % len(orders)]:
                blocks[side].append(workers[side].run(runs + _DISCARDED_RUNS)[_DISCARDED_RUNS:])
    first, second, third = (np.stack(side) for side in blocks)
    return _Measured((first, second, third), hellos)


class _Worker:
    """A process that runs blocks; its workings stand in `block_worker`."""

    def __init__(self, complaints: IO[str]) -> None:
        self._complaints = complaints
        self._process = subprocess.Popen(
            [sys.executable, "-m", "edgewright.pipeline.block_worker"],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._complaints, text=True,
        )  # fmt: skip

    def load(self, job: str) -> Mapping[str, Any]:
        """What the process says of the network that it loaded and warmed up."""
        self._send(job)
        return dict(self.answer())

    def run(self, runs: int) -> Floats:
        """The durations (runs, stages) of a block in milliseconds."""
        self._send(str(runs))
        return np.asarray(self.answer(), np.float64) / 1e6

    def answer(self) -> Any:
        """The next answer; BackendError with the last line that the process complained with when there is none."""
        line = self._process.stdout.readline() if self._process.stdout else ""
        if not line:
            raise BackendError(f"a process of the benchmark failed: {self._last_words()}")
        return json.loads(line)

    def close(self) -> None:
        if self._process.stdin:
            self._process.stdin.close()
        try:
            self._process.wait(timeout=30)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        if self._process.stdout:
            self._process.stdout.close()

    def _send(self, line: str) -> None:
        try:
            if self._process.stdin:
                self._process.stdin.write(line + "\n")
                self._process.stdin.flush()
        except BrokenPipeError as err:
            raise BackendError(f"a process of the benchmark failed: {self._last_words()}") from err

    def _last_words(self) -> str:
        status = self._process.wait()
        self._complaints.seek(0)
        lines = self._complaints.read().strip().splitlines()
        return lines[-1] if lines else f"exit status {status}"


@contextmanager
def _worker() -> Iterator[_Worker]:
    # Its complaints go to a file: a pipe that nobody reads may fill up and stop it.
    with tempfile.TemporaryFile("w+", encoding="utf-8", errors="replace") as complaints:
        worker = _Worker(complaints)
        try:
            yield worker
        finally:
            worker.close()


def _ratios(launches: Sequence[_Measured], stages: Sequence[str]) -> Iterator[LatencyRatio]:
    """Those of the percentiles of every stage and of all stages together, under the names of the measurements."""
    columns: dict[str, int | slice] = {
        **{stage: index for index, stage in enumerate(stages)},
        "end_to_end": slice(None),
    }
    for stage, index in columns.items():
        taken = [Launch(*(_column(side, index) for side in launch.sides)) for launch in launches]
        for percentile in _PERCENTILES:
            found = latency_ratio(taken, percentile)
            yield LatencyRatio(name=f"latency.{stage}.p{percentile}", **vars(found))


def _column(side: Floats, index: int | slice) -> Floats:
    return side[:, :, index].sum(axis=2) if isinstance(index, slice) else side[:, :, index]


def _run(stages: Sequence[str], durations_ms: Floats) -> Run:
    return Run(**{stage: round(float(ms) * 1e6) for stage, ms in zip(stages, durations_ms, strict=True)})


def _flat(side: Floats) -> Floats:
    return side.reshape(-1, side.shape[-1])
