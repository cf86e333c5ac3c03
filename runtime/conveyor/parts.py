"""The parts of the line, one shape each; a random generator chooses among their forms."""

from collections.abc import Callable

import numpy as np
from numpy.random import Generator

from edgewright.runtime.conveyor.outlines import (
    Field,
    Relief,
    barrel,
    bead,
    box,
    discs,
    plate,
    prism,
    ramp,
    relief,
    ring_of_points,
    wire,
)

Shape = Callable[[Generator, Field, Field], Relief]


def nut(rng: Generator, x: Field, y: Field) -> Relief:
    """A nut: hexagonal, now and then square or with a flange; the bore shows its thread."""
    r, bore = np.hypot(x, y), rng.uniform(0.36, 0.52)
    form = rng.choice(["plain", "plain", "plain", "flange", "square"])
    if form == "flange":
        bore *= 0.75
        outline: Field = r - 0.92
        height = np.maximum(
            plate(outline, 0.10, 0.12), plate(np.maximum(prism(x, y, sides=6, apothem=0.64), r - 0.70), 0.40, 0.10)
        )
    else:
        sides, apothem = (4, 0.68) if form == "square" else (6, 0.80)
        outline = prism(x, y, sides=sides, apothem=apothem)
        # The corners of a nut are turned off to a cone.
        height = plate(outline, 0.40, 0.06) - np.clip(r - apothem + 0.04, 0, None) * 0.9
    thread = np.where(r < bore + 0.07, 0.72 + 0.28 * np.sin(r * 160), 1.0)
    return relief(np.maximum(outline, bore - r), height - np.clip(bore + 0.10 - r, 0, None) * 1.2, thread)


def washer(rng: Generator, x: Field, y: Field) -> Relief:
    """A ring: flat, split (spring washer), toothed (lock washer) or dished."""
    r, bore = np.hypot(x, y), rng.uniform(0.38, 0.64)
    form = rng.choice(["flat", "flat", "split", "toothed", "dished"])
    rim = 0.93 - 0.14 * (np.sin(np.arctan2(y, x) * rng.integers(10, 16)) > 0.1) if form == "toothed" else 0.93
    outline: Field = np.maximum(r - rim, bore - r)
    height = plate(outline, 0.10, 0.06)
    if form == "split":
        outline = np.maximum(outline, np.minimum(0.045 - np.abs(y - 0.35 * x), x))
        height = height + 0.05 * np.arctan2(y, x) / np.pi
    if form == "dished":
        height = height + 0.35 * (0.93 - r)
    return relief(outline, height)


def gear(rng: Generator, x: Field, y: Field) -> Relief:
    """A spur gear: teeth, a recessed web or round windows, a hub with a keyway."""
    r, teeth, bore = np.hypot(x, y), int(rng.integers(10, 27)), rng.uniform(0.13, 0.30)
    depth = min(0.20, 2.6 / teeth)
    flank = np.clip(np.cos(np.arctan2(y, x) * teeth) * 1.7, -1, 1) * 0.5 + 0.5
    outline = r - (0.94 - depth + depth * flank)
    height = plate(outline, 0.26, 0.05)
    rim, hub = 0.94 - depth - 0.12, bore + 0.14
    if rng.random() < 0.75:
        height = height - 0.12 * ramp(rim - r, 0.05) * ramp(r - hub, 0.05)
    windows = int(rng.integers(3, 7))
    if rng.random() < 0.4 and rim - hub > 0.2:
        outline = np.maximum(outline, -discs(x, y, ring_of_points(windows, (rim + hub) / 2), (rim - hub) * 0.36))
    keyway = np.maximum(np.abs(y) - bore * 0.28, np.maximum(-x, x - bore * 1.35))
    return relief(np.maximum(outline, -np.minimum(r - bore, keyway)), height)


def bolt(rng: Generator, x: Field, y: Field) -> Relief:
    """A bolt or screw on its side, or standing on its head."""
    if rng.random() < 0.2:
        return _standing_bolt(rng, x, y)
    head, shank, end = rng.uniform(0.30, 0.46), rng.uniform(0.13, 0.22), 0.94
    neck = rng.uniform(0.2, 0.4) - 0.94
    turn = (x / rng.uniform(0.06, 0.12)) % 1.0
    thread = 0.022 * np.abs(turn * 2 - 1) * (x > neck + rng.uniform(0.0, 0.7))
    radius = (shank - thread) * (0.25 + 0.75 * np.clip((end - x) / rng.uniform(0.02, 0.5), 0, 1))
    shaft = np.maximum(np.abs(y) - radius, np.maximum(neck - 0.02 - x, x - end))
    cap, cap_height = _lying_head(rng, x, y, neck, head)
    height = np.where(cap < 0, cap_height, head * 0.5 + barrel(y, radius))
    return relief(np.minimum(shaft, cap), height)


def _lying_head(rng: Generator, x: Field, y: Field, neck: float, half: float) -> tuple[Field, Field]:
    """Distance to and height of the head of a bolt on its side, from -0.94 to `neck`."""
    form = rng.choice(["hex", "hex", "cylinder", "dome", "countersunk"])
    along = (x + 0.94) / (neck + 0.94)
    if form == "hex":
        # Three of the six faces are seen; the middle one is level.
        height = half * 0.87 - np.clip(np.abs(y) - half / 2, 0, None) * 1.5
        return box(x, y, -0.94, -half, neck, half), np.asarray(height + half * 0.3, np.float32)
    if form == "cylinder":
        knurl = 0.012 * np.sin(y * 150)
        return box(x, y, -0.94, -half, neck, half), np.asarray(half * 0.3 + barrel(y, half) + knurl, np.float32)
    reach = np.sqrt(np.clip(along, 0, 1)) if form == "dome" else np.clip(1.15 - along, 0, 1)
    radius = half * (0.25 + 0.75 * reach)
    outline = np.maximum(np.abs(y) - radius, np.maximum(-0.94 - x, x - neck))
    return np.asarray(outline, np.float32), np.asarray(half * 0.3 + barrel(y, radius), np.float32)


def _standing_bolt(rng: Generator, x: Field, y: Field) -> Relief:
    r, shank = np.hypot(x, y), rng.uniform(0.34, 0.5)
    outline = prism(x, y, sides=6, apothem=0.80) if rng.random() < 0.6 else r - 0.9
    height = plate(outline, 0.25, 0.08) + 0.5 * ramp(shank - r, 0.06) - 0.2 * ramp(r - 0.78, 0.2)
    if rng.random() < 0.5:
        # Head up: a hexagon socket instead of the shank.
        height = plate(outline, 0.4, 0.2) - 0.25 * ramp(-prism(x, y, sides=6, apothem=shank * 0.8), 0.05)
    return relief(outline, height, np.where(height < 0.2, 0.7, 1.0))


def spring(rng: Generator, x: Field, y: Field) -> Relief:
    """A coil spring on its side, with plain ends or with a hook at each end."""
    coils, thick, radius = int(rng.integers(5, 13)), rng.uniform(0.035, 0.07), rng.uniform(0.24, 0.42)
    hooked = rng.random() < 0.35
    half = 0.58 if hooked else 0.92 - thick
    turns = np.linspace(0, 2 * np.pi * coils, coils * 32)
    path = np.stack([(turns / turns[-1] * 2 - 1) * half, radius * np.cos(turns)], axis=1)
    is_front = np.sin(turns) > 0
    front = _stretches(path, is_front) + (_hooks(half, radius) if hooked else [])
    above, below = wire(x, front, thick), wire(x, _stretches(path, ~is_front), thick)
    height = np.where(above < 0, radius * 2 + bead(above, thick), thick + bead(below, thick))
    return relief(np.minimum(above, below), height, np.where(above < 0, 1.0, 0.6))


def _stretches(path: np.ndarray, chosen: np.ndarray) -> list[np.ndarray]:
    """The runs of consecutive chosen points, each with the point after it so that no gap is left."""
    borders = np.flatnonzero(np.diff(chosen.astype(int), prepend=0, append=0))
    return [path[start : end + 1] for start, end in zip(borders[::2], borders[1::2], strict=True)]


def _hooks(half: float, radius: float) -> list[np.ndarray]:
    turn = np.linspace(-0.5, 1.2, 24) * np.pi
    reach = 0.93 - half - 0.06
    eye = np.stack([half + reach / 2 - reach / 2 * np.cos(turn), reach / 2 * np.sin(turn)], axis=1)
    stem = np.array([[half, radius], [half + 0.02, 0.0]])
    return [part * side for part in (eye, stem) for side in (1, -1)]


def bracket(rng: Generator, x: Field, y: Field) -> Relief:
    """A sheet-metal bracket: an angle, a tee, a gusset, a channel or a strap, with holes, often with a flange bent up."""
    form, arm = str(rng.choice(["angle", "angle", "tee", "gusset", "channel", "strap"])), rng.uniform(0.20, 0.30)
    foot = box(x, y, -0.9, 0.9 - 2 * arm, 0.9, 0.9)
    outline, holes, edge = {
        "angle": (
            np.minimum(foot, box(x, y, -0.9, -0.9, -0.9 + 2 * arm, 0.9)),
            [(-0.9 + arm, -0.55), (0.55, 0.9 - arm), (-0.9 + arm, 0.1)],
            np.minimum(x, -y) + 0.9,
        ),
        "tee": (np.minimum(foot, box(x, y, -arm, -0.9, arm, 0.9)), [(-0.6, 0.9 - arm), (0.6, 0.9 - arm)], 0.9 - y),
        "gusset": (np.maximum(box(x, y, -0.85, -0.85, 0.85, 0.85), (x - y) * 0.7071), [(-0.45, 0.45)], x + 0.85),
        "channel": (box(x, y, -0.92, -0.5, 0.92, 0.5), [(-0.5, 0.0), (0.5, 0.0)], 0.5 - np.abs(y)),
        "strap": (box(x, y, -0.93, -arm, 0.93, arm), [(-0.7, 0.0), (0.7, 0.0), (0.2, 0.0), (-0.2, 0.0)], x + 0.93),
    }[form]
    if rng.random() < 0.6:
        holes = holes[: int(rng.integers(1, len(holes) + 1))]
    height = plate(np.asarray(outline, np.float32), 0.07, 0.03)
    if rng.random() < 0.7:
        height = height + 0.5 * ramp(0.16 - np.asarray(edge, np.float32), 0.12)
    drilled = discs(x, y, holes, arm * rng.uniform(0.3, 0.6))
    return relief(np.maximum(outline, -drilled), height)


PARTS: dict[str, Shape] = {
    "nut": nut,
    "washer": washer,
    "gear": gear,
    "bolt": bolt,
    "spring": spring,
    "bracket": bracket,
}
