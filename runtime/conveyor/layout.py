"""What lies where: a line is drawn from a seed, and its endless belt is filled chunk by chunk."""

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import numpy.typing as npt
from numpy.random import Generator

from edgewright.runtime.conveyor.light import PART_MATERIALS
from edgewright.runtime.conveyor.parts import PARTS
from edgewright.runtime.conveyor.rubbish import MARKS, THINGS
from edgewright.runtime.conveyor.sprites import VARIANTS
from edgewright.runtime.conveyor.surfaces import BELTS

# Which video: (seed, 0), or (seed, 1 + index) for a scene of its own.
Stream = tuple[int, int]
Floats = npt.NDArray[np.float64]

# One unit is one pixel of a picture of 480 x 640 at zoom 1.
CHUNK_UNITS = 320.0
LARGEST_UNITS = 210.0
# The feed changes from batch to batch, so that an empty stretch is longer than the picture now and then.
_CHUNKS_PER_BATCH = 3
_CHUNK_ORIGIN = 1 << 40
# Parts per area in a batch, as a factor, and how often.
_CROWDS, _CROWD_SHARES = (0.0, 0.35, 1.0, 2.2), (0.08, 0.3, 0.42, 0.2)
_MADE_OF = {"seal": "rubber", "sticker": "paper", "stain": "oil", "scratch": "paper"}


def stream_rng(stream: Stream, purpose: str, *more: int) -> Generator:
    """The random numbers of one purpose of one stream, independent of all others and of the order of calls."""
    return np.random.default_rng([*stream, *purpose.encode(), *more])


@dataclass(frozen=True)
class Thing:
    """One thing on the belt: where its middle is and how large its square, in units; how it is turned, how flat it is
    squeezed, and how dirty it is (0..1)."""

    kind: str
    material: str
    variant: int
    along: float
    across: float
    side: float
    turn: float
    squeeze: float
    grime: float


@dataclass(frozen=True)
class Line:
    """What stays the same while the belt of one stream runs."""

    belt: str
    belt_color: tuple[float, float, float]
    belt_contrast: float
    heading: float
    zoom: float
    half_width: float
    aside: float
    speed: float
    pulse: float
    pulse_period_s: float
    density: float
    size_factor: float
    kind_weights: tuple[float, ...]
    material_weights: tuple[float, ...]
    rail_color: float

    def position(self, time_s: float) -> float:
        """How far the belt has run, in units; it slows down and speeds up but never runs back."""
        omega = 2 * np.pi / self.pulse_period_s
        return float(self.speed * (time_s + self.pulse * np.cos(omega * time_s) / omega))

    def velocity(self, time_s: float) -> float:
        """The belt's speed in units per second."""
        return float(self.speed * (1 - self.pulse * np.sin(2 * np.pi / self.pulse_period_s * time_s)))


# BGR reflectance of belts: black and grey rubber, green and blue PVC, white food-grade, brown leather, steel.
_BELT_COLORS = (
    (0.10, 0.10, 0.10),
    (0.20, 0.19, 0.18),
    (0.30, 0.29, 0.28),
    (0.17, 0.27, 0.12),
    (0.38, 0.22, 0.10),
    (0.62, 0.64, 0.65),
    (0.16, 0.23, 0.32),
    (0.42, 0.42, 0.41),
)


@lru_cache(maxsize=64)
def line_of(stream: Stream) -> Line:
    """The line that a stream shows."""
    rng = stream_rng(stream, "line")
    color = np.array(_BELT_COLORS[rng.integers(len(_BELT_COLORS))]) * rng.uniform(0.8, 1.2) * rng.uniform(0.92, 1.08, 3)
    return Line(
        belt=BELTS[rng.integers(len(BELTS))],
        belt_color=(float(color[0]), float(color[1]), float(color[2])),
        belt_contrast=float(rng.uniform(0.25, 1.1)),
        heading=float(rng.integers(4) * np.pi / 2 + rng.normal(0, 0.12)),
        zoom=float(np.exp(rng.uniform(np.log(0.8), np.log(1.35)))),
        half_width=float(rng.uniform(170, 460)),
        aside=float(rng.normal(0, 60)),
        speed=float(rng.uniform(40, 300)),
        pulse=float(rng.uniform(0, 1)),
        pulse_period_s=float(rng.uniform(1.5, 6)),
        density=float(4.2e-5 * np.exp(rng.normal(0, 0.4))),
        size_factor=float(np.exp(rng.normal(0, 0.2))),
        kind_weights=tuple(float(w) for w in _shares(rng.gamma(1.2, size=len(PARTS)) + 0.15)),
        material_weights=tuple(float(w) for w in _shares(rng.gamma(0.6, size=len(PART_MATERIALS)) + 0.03)),
        rail_color=float(rng.uniform(0.15, 0.6)),
    )


def things_between(stream: Stream, start: float, end: float) -> list[Thing]:
    """All things with their middle between two places of the belt, in the order in which they were laid down."""
    first, last = int(np.floor(start / CHUNK_UNITS)), int(np.floor(end / CHUNK_UNITS))
    things = [thing for chunk in range(first, last + 1) for thing in _chunk(stream, chunk)]
    return [thing for thing in things if thing.kind in MARKS] + [thing for thing in things if thing.kind not in MARKS]


@lru_cache(maxsize=256)
def _chunk(stream: Stream, chunk: int) -> tuple[Thing, ...]:
    line, place = line_of(stream), chunk + _CHUNK_ORIGIN
    crowd = stream_rng(stream, "batch", place // _CHUNKS_PER_BATCH).choice(_CROWDS, p=_CROWD_SHARES)
    rng = stream_rng(stream, "chunk", place)
    kinds = _kinds(rng, line, float(crowd))
    count = len(kinds)
    marks = np.array([kind in MARKS for kind in kinds], bool)
    side = np.where(marks, rng.uniform(50, LARGEST_UNITS, count), _sides(rng, count) * line.size_factor)
    side = np.minimum(side, LARGEST_UNITS)
    along, across = _places(rng, np.maximum(line.half_width - side * 0.45, 1.0))
    along = along + chunk * CHUNK_UNITS
    turn, squeeze, grime = rng.uniform(0, 2 * np.pi, count), rng.uniform(0.86, 1, count), rng.beta(1.5, 2.0, count)
    variant = rng.integers(VARIANTS, size=count)
    material = rng.choice(PART_MATERIALS, count, p=line.material_weights)
    made_of = [_MADE_OF.get(kind, str(other)) for kind, other in zip(kinds, material, strict=True)]
    columns = (variant, along, across, side, turn, squeeze, grime)
    return tuple(map(Thing, kinds, made_of, *(column.tolist() for column in columns)))


def _kinds(rng: Generator, line: Line, crowd: float) -> list[str]:
    """What lies on one chunk: marks first, since they are part of the belt, then parts and rubbish in any order."""
    area = CHUNK_UNITS * 2 * line.half_width
    marks, parts, rubbish = rng.poisson(area * np.array([0.8e-5, line.density * crowd, 0.6e-5]))
    solid = [*rng.choice(list(PARTS), parts, p=line.kind_weights), *rng.choice(list(THINGS), rubbish)]
    return [str(kind) for kind in (*rng.choice(list(MARKS), marks, p=(0.25, 0.4, 0.35)), *rng.permutation(solid))]


def _places(rng: Generator, limit: Floats) -> tuple[Floats, Floats]:
    """Along and across; on some chunks most things lie on a heap. `limit` is how far from the middle each may lie."""
    count = len(limit)
    along, across = rng.uniform(0, CHUNK_UNITS, count), rng.uniform(-1, 1, count) * limit
    if rng.random() < 0.3:
        heap = rng.uniform(0, CHUNK_UNITS), rng.uniform(-0.8, 0.8) * limit.max(initial=0)
        heaped = rng.random(count) < 0.6
        along = np.where(heaped, heap[0] + rng.normal(0, 45, count), along)
        across = np.where(heaped, np.clip(heap[1] + rng.normal(0, 45, count), -limit, limit), across)
    return along, across


def _sides(rng: Generator, count: int) -> Floats:
    """Small, medium and large in the sense of COCO, on a picture of 480 x 640."""
    bounds = np.log(np.array([(22, 42), (42, 100), (100, LARGEST_UNITS)]))[rng.choice(3, count, p=(0.30, 0.48, 0.22))]
    return np.asarray(np.exp(rng.uniform(bounds[:, 0], bounds[:, 1])))


def _shares(weights: Floats) -> Floats:
    return np.asarray(weights / weights.sum())
