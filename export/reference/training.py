"""Training of the reference detector: seeded, on a CPU, in minutes."""

import copy
import logging
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from edgewright.export.reference.network import PREPROCESS, Detector
from edgewright.export.reference.objective import Truth, loss
from edgewright.export.reference.scenes import Scene, flipped
from edgewright.runtime.conveyor import LABELS

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Schedule:
    """How long and how fast the network learns; the rate rises over `warmup` steps and then falls along a cosine."""

    steps: int = 5000
    batch: int = 8
    rate: float = 4e-3
    warmup: int = 100
    weight_decay: float = 0.02
    averaging: float = 0.998

    def rate_at(self, step: int) -> float:
        """The share of the full rate at a step."""
        progress = min(1.0, step / max(self.steps, 1))
        return min(1.0, (step + 1) / self.warmup) * (0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2)


def train(
    scenes: Sequence[Scene], schedule: Schedule, *, seed: int, on_step: Callable[[int, float], None] | None = None
) -> Detector:
    """A detector trained on the scenes: the running average of its weights, in evaluation mode.

    The same seed, scenes, library and number of threads give the same weights. `on_step` gets the step and its loss.
    """
    torch.manual_seed(seed)
    rng = np.random.default_rng(seed)
    detector = Detector(len(LABELS))
    detector.train().to(memory_format=torch.channels_last)
    average = copy.deepcopy(detector)
    optimizer = torch.optim.AdamW(_groups(detector, schedule), lr=schedule.rate)
    scheduler = torch.optim.lr_scheduler.LambdaLR(optimizer, schedule.rate_at)
    for step in range(schedule.steps):
        pictures, truths = _batch(scenes, rng, schedule.batch)
        value = loss(detector(pictures), truths, PREPROCESS.size_hw)
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(detector.parameters(), 10.0)
        optimizer.step()
        scheduler.step()
        _follow(average, detector, min(schedule.averaging, (1 + step) / (10 + step)))
        if on_step is not None:
            on_step(step, float(value.detach()))
    average.eval()
    return average


def _groups(detector: Detector, schedule: Schedule) -> list[dict[str, object]]:
    """Weights of convolutions decay; biases and normalization do not."""
    weights = [p for p in detector.parameters() if p.ndim > 1]
    rest = [p for p in detector.parameters() if p.ndim <= 1]
    return [{"params": weights, "weight_decay": schedule.weight_decay}, {"params": rest, "weight_decay": 0.0}]


def _batch(scenes: Sequence[Scene], rng: np.random.Generator, size: int) -> tuple[Tensor, list[Truth]]:
    chosen = [flipped(scenes[i], rng) for i in rng.integers(0, len(scenes), size)]
    pictures = torch.from_numpy(np.stack([scene.tensor for scene in chosen])).float()
    # Cameras differ in gain and colour more than a few thousand scenes show.
    gains = torch.from_numpy(np.exp(rng.normal(0, 0.12, (size, 3, 1, 1))).astype(np.float32))
    truths = [Truth(torch.from_numpy(s.boxes_xyxy.copy()), torch.from_numpy(s.class_ids)) for s in chosen]
    return (pictures * gains).clamp_(0, 255).contiguous(memory_format=torch.channels_last), truths


@torch.no_grad()
def _follow(average: Detector, detector: Detector, share: float) -> None:
    """Move the average towards the detector; counters of normalization are copied."""
    for kept, new in zip(average.state_dict().values(), detector.state_dict().values(), strict=True):
        if kept.dtype.is_floating_point:
            kept.mul_(share).add_(new, alpha=1 - share)
        else:
            kept.copy_(new)
