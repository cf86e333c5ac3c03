"""The camera: what lens, shutter, sensor and compression make of the light."""

from dataclasses import dataclass

import cv2
import numpy as np
from numpy.random import Generator

from edgewright.runtime.conveyor.light import Drift, Light, drift, light_field
from edgewright.runtime.conveyor.outlines import Field
from edgewright.runtime.conveyor.surfaces import GRAIN_PX, grain_tile
from edgewright.runtime.conveyor.view import View
from edgewright.runtime.results import Image

# Longer kernels are computed by a slower method, and a real line lights short enough for less.
_LONGEST_SMEAR_PX = 9
# The mean that the metering aims at, as a share of white.
_TARGET = 0.5
_ROOT = 0.6


@dataclass(frozen=True)
class Camera:
    """One camera: how much of a dark scene its metering makes up for (0..1) and its error as a factor; defocus in
    units, darkening of the corners, noise in grey levels on the scale of roots, exponent, contrast and haze of the tone
    curve, JPEG quality or None, shake in units."""

    metering: float
    gain: float
    defocus: float
    shutter_s: float
    vignette: float
    noise: float
    gamma: float
    contrast: float
    haze: float
    quality: int | None
    shake: float
    shakes: tuple[Drift, Drift]


def camera_of(rng: Generator) -> Camera:
    """A random camera: mostly sharp, some out of focus, noisy or compressed hard."""
    return Camera(
        metering=float(rng.uniform(0.6, 0.95)),
        gain=float(np.exp(rng.normal(0, 0.25))),
        defocus=float(rng.gamma(1.2, 0.5)),
        shutter_s=float(np.exp(rng.uniform(np.log(0.001), np.log(0.03)))),
        vignette=float(rng.beta(1.3, 2.5)),
        noise=float(np.exp(rng.normal(1.1, 0.7))),
        gamma=float(np.exp(rng.normal(0, 0.12))),
        contrast=float(np.exp(rng.normal(0, 0.12))),
        haze=float(rng.gamma(1.0, 4.0)),
        quality=int(rng.integers(30, 96)) if rng.random() < 0.6 else None,
        shake=float(rng.gamma(1.0, 0.5)),
        shakes=(drift(rng, 0.1, 0.6), drift(rng, 0.1, 0.6)),
    )


def expose(
    camera: Camera, scene: Field, light: Light, view: View, *, smear_px: tuple[float, float], rng: Generator
) -> Image:
    """The picture (H, W, 3) uint8 that the camera takes of surfaces of reflectance `scene` under a light.

    `scene` is used up.
    """
    exposure = (_TARGET / (cv2.mean(scene)[1] * light.gain + 0.02)) ** camera.metering
    lit, glare = light_field(light, view.size_hw, vignette=camera.vignette, exposure=exposure * camera.gain)
    cv2.multiply(scene, lit, dst=scene)
    if glare is not None:
        cv2.add(scene, glare, dst=scene)
    image = np.asarray(cv2.convertScaleAbs(scene, alpha=255), np.uint8)
    image = _smeared(_blurred(image, camera.defocus * view.scale), smear_px)
    image = _developed(image, camera, camera.noise * exposure**0.5, rng)
    return image if camera.quality is None else _compressed(image, camera.quality)


def _blurred(image: Image, sigma: float) -> Image:
    if sigma < 0.3:
        return image
    return np.asarray(cv2.GaussianBlur(image, (0, 0), sigma), np.uint8)


def _smeared(image: Image, smear_px: tuple[float, float]) -> Image:
    """The picture with the motion during the exposure."""
    dx, dy = smear_px
    length = min(float(np.hypot(dx, dy)), _LONGEST_SMEAR_PX)
    if length < 1.2:
        return image
    direction = np.array([dx, dy]) / np.hypot(dx, dy)
    size = 2 * int(np.ceil(length / 2)) + 1
    kernel = np.zeros((size, size), np.float32)
    for step in np.linspace(-length / 2, length / 2, 4 * size):
        x, y = np.rint(direction * step + size // 2).astype(int)
        kernel[y, x] += 1
    return np.asarray(cv2.filter2D(image, -1, kernel / kernel.sum()), np.uint8)


def _developed(image: Image, camera: Camera, noise: float, rng: Generator) -> Image:
    """The picture with the sensor's noise, after the tone curve.

    Photons arrive by chance, so the noise grows with the root of the light: it is even on the scale of roots.
    """
    levels = np.arange(256) / 255
    roots = np.rint(levels**_ROOT * 255).astype(np.uint8)
    amount = noise / 32
    noisy = cv2.addWeighted(cv2.LUT(image, roots), 1.0, _grain(image.shape[:2], rng), amount, -128 * amount)
    curve = (levels ** (camera.gamma / _ROOT) * 255 - 96) * camera.contrast + 96 + camera.haze
    return np.asarray(cv2.LUT(noisy, np.clip(np.rint(curve), 0, 255).astype(np.uint8)), np.uint8)


def _grain(size_hw: tuple[int, int], rng: Generator) -> Image:
    """A piece of the grain tile, from another place each time; repeated when the picture is large."""
    tile, spare = grain_tile(), GRAIN_PX // 4
    repeats = [-(-(side + spare) // GRAIN_PX) for side in size_hw]
    if max(repeats) > 1:
        tile = np.tile(tile, (*repeats, 1))
    top, left = (int(v) for v in rng.integers(0, spare, 2))
    return tile[top : top + size_hw[0], left : left + size_hw[1]]


def _compressed(image: Image, quality: int) -> Image:
    encoded = cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, quality])[1]
    return np.asarray(cv2.imdecode(encoded, cv2.IMREAD_COLOR), np.uint8)


def smear(velocity: float, heading: float, camera: Camera, scale: float) -> tuple[float, float]:
    """How far the belt moves in the picture while the shutter is open, x and y in pixels."""
    length = velocity * camera.shutter_s * scale
    return float(np.cos(heading) * length), float(np.sin(heading) * length)
