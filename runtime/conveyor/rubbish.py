"""What no inspection line wants to count: things that resemble parts, and marks on the belt."""

import numpy as np
from numpy.random import Generator

from edgewright.runtime.conveyor.outlines import Field, Relief, barrel, bead, box, discs, plate, ramp, relief, wire
from edgewright.runtime.conveyor.parts import Shape


def blank(rng: Generator, x: Field, y: Field) -> Relief:
    """A disc without a hole, plain or stepped."""
    r = np.hypot(x, y)
    height = plate(r - 0.93, rng.uniform(0.08, 0.3), 0.08)
    if rng.random() < 0.5:
        height = height + 0.08 * ramp(rng.uniform(0.4, 0.7) - r, 0.05)
    return relief(r - 0.93, height)


def seal(rng: Generator, x: Field, y: Field) -> Relief:
    """A rubber O-ring, pressed a little out of round."""
    radius = rng.uniform(0.05, 0.11)
    outline = np.abs(np.hypot(x, y * rng.uniform(1.0, 1.35)) - (0.93 - radius)) - radius
    return relief(outline, radius + bead(outline, radius), 0.5)


def swarf(rng: Generator, x: Field, y: Field) -> Relief:
    """A curl of metal cut off by a lathe."""
    turn = np.linspace(0, rng.uniform(4, 16), 160)
    reach = np.linspace(rng.uniform(0.05, 0.3), rng.uniform(0.5, 0.85), 160)
    slide = np.linspace(0.2, 0.2 - rng.uniform(0, 0.6), 160)
    radius = rng.uniform(0.03, 0.06)
    outline = wire(x, [np.stack([reach * np.cos(turn) + slide, reach * np.sin(turn)], axis=1)], radius)
    return relief(outline, 0.1 + bead(outline, radius))


def chip(rng: Generator, x: Field, y: Field) -> Relief:
    """A splinter or crumb with a few straight edges."""
    angles = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(4, 8))))
    edges = [x * np.cos(a) + y * np.sin(a) - rng.uniform(0.3, 0.85) for a in angles]
    outline = np.asarray(np.maximum(np.max(edges, axis=0), np.hypot(x, y) - 0.95), np.float32)
    return relief(outline, plate(outline, 0.4, 0.4) + 0.1 * x)


def pin(rng: Generator, x: Field, y: Field) -> Relief:
    """A dowel pin on its side: like a bolt without a head."""
    radius = rng.uniform(0.10, 0.26)
    outline = box(x, y, -0.93, -radius, 0.93, radius)
    return relief(outline, radius + barrel(y, radius))


def sticker(rng: Generator, x: Field, y: Field) -> Relief:
    """A paper label with a bar code and a few lines of print."""
    half = rng.uniform(0.4, 0.75)
    outline = box(x, y, -0.95, -half, 0.95, half)
    column, row = np.clip((x + 0.8) * 30, 0, 47).astype(int), np.clip((y / half - 0.2) * 5, 0, 3)
    bars = (rng.random(48) < 0.5)[column] & (y > -half * 0.7) & (y < half * 0.1)
    letters = (
        (rng.random((4, 48)) < 0.75)[row.astype(int), column] & (row % 1 > 0.4) & (y > half * 0.2) & (y < half * 0.9)
    )
    return relief(outline, plate(outline, 0.01, 0.02), np.where((bars | letters) & (np.abs(x) < 0.8), 0.15, 1.0))


def stain(rng: Generator, x: Field, y: Field) -> Relief:
    """A puddle of oil with fingers, and a few drops beside it."""
    angle, edge = np.arctan2(y, x), np.full_like(x, 0.6)
    for k in range(1, 6):
        edge += rng.uniform(0, 0.22 / k) * np.cos(k * angle + rng.uniform(0, 2 * np.pi))
    outline = np.asarray(np.hypot(x, y * rng.uniform(1.0, 1.8)) - edge, np.float32)
    drops = [(float(px), float(py)) for px, py in rng.uniform(-0.85, 0.85, (int(rng.integers(1, 5)), 2))]
    outline = np.minimum(outline, discs(x, y, drops, rng.uniform(0.02, 0.08)))
    return relief(outline, plate(outline, 0.02, 0.15))


def scratch(rng: Generator, x: Field, y: Field) -> Relief:
    """A scratch in the belt, bent a little."""
    along = np.linspace(-0.95, 0.95, 40)
    bend = rng.uniform(-0.25, 0.25) * np.sin(along * rng.uniform(1, 3)) + rng.normal(0, 0.006, 40)
    return relief(wire(x, [np.stack([along, bend], axis=1)], rng.uniform(0.014, 0.024)), np.zeros_like(x))


THINGS: dict[str, Shape] = {"blank": blank, "seal": seal, "swarf": swarf, "chip": chip, "pin": pin}
MARKS: dict[str, Shape] = {"sticker": sticker, "stain": stain, "scratch": scratch}
