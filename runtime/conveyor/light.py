"""The light over the line, how it drifts, and what the materials make of it."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from edgewright.runtime.conveyor.outlines import Field, grid

# BGR reflectance, share of diffuse light, strength and sharpness of the highlight, share of the mirrored lamps.
MATERIALS: dict[str, tuple[tuple[float, float, float], float, float, float, float]] = {
    "zinc": ((0.66, 0.62, 0.58), 0.45, 0.35, 14, 0.45),
    "stainless": ((0.70, 0.71, 0.72), 0.25, 0.60, 40, 0.75),
    "brass": ((0.28, 0.56, 0.68), 0.40, 0.45, 22, 0.55),
    "copper": ((0.28, 0.40, 0.66), 0.45, 0.40, 18, 0.50),
    "black_oxide": ((0.13, 0.12, 0.12), 0.70, 0.30, 12, 0.20),
    "rust": ((0.12, 0.22, 0.40), 0.95, 0.03, 4, 0.0),
    "cast": ((0.34, 0.34, 0.33), 0.90, 0.10, 5, 0.05),
    "blue_plastic": ((0.50, 0.28, 0.14), 0.85, 0.25, 30, 0.05),
    "nylon": ((0.66, 0.70, 0.71), 0.90, 0.15, 20, 0.03),
    "red_paint": ((0.14, 0.13, 0.52), 0.80, 0.30, 35, 0.08),
    "yellow_paint": ((0.10, 0.48, 0.60), 0.80, 0.30, 35, 0.08),
    "rubber": ((0.09, 0.09, 0.09), 0.95, 0.08, 6, 0.0),
    "paper": ((0.78, 0.82, 0.84), 1.0, 0.0, 1, 0.0),
    "oil": ((0.05, 0.06, 0.07), 0.5, 0.5, 60, 0.25),
}
# What parts are made of.
PART_MATERIALS = tuple(name for name in MATERIALS if name not in ("rubber", "paper", "oil"))
SHEEN_PX = 33
_FIELD_PX = 24


@dataclass(frozen=True)
class Drift:
    """A smooth wandering between -1 and 1 over seconds."""

    periods_s: tuple[float, ...]
    phases: tuple[float, ...]

    def __call__(self, time_s: float) -> float:
        waves = [
            np.sin(2 * np.pi * time_s / period + phase)
            for period, phase in zip(self.periods_s, self.phases, strict=True)
        ]
        return float(np.mean(waves))


def drift(rng: Generator, shortest_s: float, longest_s: float) -> Drift:
    """A random drift of three waves between two periods."""
    periods = np.exp(rng.uniform(np.log(shortest_s), np.log(longest_s), 3))
    return Drift(tuple(float(p) for p in periods), tuple(float(p) for p in rng.uniform(0, 2 * np.pi, 3)))


@dataclass(frozen=True)
class Light:
    """The light at one moment: where it comes from, its brightness and colour (BGR), how it falls off from its pool,
    a shadow that crosses the picture, a glare. Places count from the middle in longer sides of the picture."""

    azimuth: float
    elevation: float
    gain: float
    color: tuple[float, float, float]
    pool_xy: tuple[float, float]
    pool_falloff: float
    shade_angle: float
    shade_offset: float
    shade_width: float
    shade_depth: float
    glare_xy: tuple[float, float]
    glare_size: float
    glare: float


@dataclass(frozen=True)
class Lamp:
    """The light of one stream over time."""

    base: Light
    drifts: tuple[Drift, ...]
    unrest: float

    def at(self, time_s: float) -> Light:
        """The light at a moment, in seconds from the start of the stream."""
        azimuth, gain, warmth, pool_x, pool_y, shade, glare_x, glare = (d(time_s) * self.unrest for d in self.drifts)
        base = self.base
        blue, green, red = base.color
        return Light(
            azimuth=base.azimuth + 0.6 * azimuth,
            elevation=base.elevation,
            gain=base.gain * float(np.exp(0.35 * gain)),
            color=(blue * (1 - 0.12 * warmth), green, red * (1 + 0.12 * warmth)),
            pool_xy=(base.pool_xy[0] + 0.2 * pool_x, base.pool_xy[1] + 0.2 * pool_y),
            pool_falloff=base.pool_falloff,
            shade_angle=base.shade_angle,
            shade_offset=base.shade_offset + 0.9 * shade,
            shade_width=base.shade_width,
            shade_depth=base.shade_depth,
            glare_xy=(base.glare_xy[0] + 0.3 * glare_x, base.glare_xy[1]),
            glare_size=base.glare_size,
            glare=max(0.0, base.glare * (1 + 0.8 * glare)),
        )


def lamp_of(rng: Generator) -> Lamp:
    """A random light: mostly good, one in five dim, some with a passing shadow or a glare."""
    warmth = rng.normal(0, 0.10)
    gain = np.exp(rng.normal(-0.05, 0.2)) * (rng.uniform(0.2, 0.55) if rng.random() < 0.2 else 1.0)
    base = Light(
        azimuth=float(rng.uniform(0, 2 * np.pi)),
        elevation=float(rng.uniform(0.55, 1.25)),
        gain=float(gain),
        color=(float(1 - warmth), float(1 + rng.normal(0, 0.03)), float(1 + warmth)),
        pool_xy=(float(rng.uniform(-0.4, 0.4)), float(rng.uniform(-0.3, 0.3))),
        pool_falloff=float(rng.gamma(1.5, 0.5)),
        shade_angle=float(rng.uniform(0, np.pi)),
        shade_offset=float(rng.uniform(-0.7, 0.7)),
        shade_width=float(rng.uniform(0.08, 0.4)),
        shade_depth=float(rng.uniform(0.3, 0.75) if rng.random() < 0.3 else 0.0),
        glare_xy=(float(rng.uniform(-0.5, 0.5)), float(rng.uniform(-0.4, 0.4))),
        glare_size=float(rng.uniform(0.05, 0.3)),
        glare=float(rng.uniform(0.15, 0.7) if rng.random() < 0.25 else 0.0),
    )
    return Lamp(base, tuple(drift(rng, 4, 60) for _ in range(8)), float(rng.uniform(0.3, 1.2)))


def light_field(
    light: Light, size_hw: tuple[int, int], *, vignette: float, exposure: float
) -> tuple[Field, Field | None]:
    """The factor (H, W, 3) by which light and lens multiply a surface, and the glare (H, W, 3) on top of it, if any."""
    x, y = grid(_FIELD_PX)
    fall = 1 - vignette * 0.35 * (x * x + y * y)
    x, y = x / 2 * (size_hw[1] / max(size_hw)), y / 2 * (size_hw[0] / max(size_hw))
    distance = np.square(x - light.pool_xy[0]) + np.square(y - light.pool_xy[1])
    level = fall / (1 + light.pool_falloff * 2.2 * distance)
    across = x * np.cos(light.shade_angle) + y * np.sin(light.shade_angle) - light.shade_offset
    level = level * (1 - light.shade_depth * (0.5 - 0.5 * np.tanh((np.abs(across) - light.shade_width) * 15)))
    color = np.array(light.color) * (light.gain * exposure)
    lit = _stretched(level[:, :, None] * color, size_hw)
    if light.glare <= 0.0:
        return lit, None
    spot = np.square(x - light.glare_xy[0]) + np.square(y - light.glare_xy[1])
    glare = light.glare * np.exp(-spot / light.glare_size**2)
    return lit, _stretched(glare[:, :, None] * color, size_hw)


def sheens(light: Light) -> dict[str, Field]:
    """What each material shows under a light for every slope of its surface: (33, 33, 3) over the normal's x and y."""
    x, y = grid(SHEEN_PX)
    z = np.sqrt(np.clip(1 - x * x - y * y, 0.01, 1))
    towards = np.array(
        [
            np.cos(light.azimuth) * np.cos(light.elevation),
            np.sin(light.azimuth) * np.cos(light.elevation),
            np.sin(light.elevation),
        ]
    )
    diffuse = np.clip(x * towards[0] + y * towards[1] + z * towards[2], 0, 1) * 0.8 + 0.25
    half = towards + np.array([0, 0, 1])
    half = half / np.linalg.norm(half)
    facing = np.clip(x * half[0] + y * half[1] + z * half[2], 0, 1)
    # Two long lamps and a bright wall, mirrored: where the reflected ray goes decides what is seen.
    side = 2 * z * (x * np.cos(light.azimuth + 0.7) + y * np.sin(light.azimuth + 0.7))
    mirrored = (
        0.35
        + 1.1 * np.exp(-np.square((side - 0.45) / 0.22))
        + 0.6 * np.exp(-np.square((side + 0.55) / 0.15))
        + 0.25 * side
    )
    return {name: _sheen(material, diffuse, facing, mirrored) for name, material in MATERIALS.items()}


def _sheen(
    material: tuple[tuple[float, float, float], float, float, float, float],
    diffuse: Field,
    facing: Field,
    mirrored: Field,
) -> Field:
    color, diffuse_share, highlight, sharpness, mirror_share = material
    body = (diffuse * diffuse_share + mirrored * mirror_share)[:, :, None] * np.array(color)
    return np.asarray(body + (highlight * facing**sharpness)[:, :, None], np.float32)


def _stretched(field: Field, size_hw: tuple[int, int]) -> Field:
    return np.asarray(cv2.resize(field.astype(np.float32), size_hw[::-1], interpolation=cv2.INTER_LINEAR))
