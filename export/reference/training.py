"""Training of the reference networks: seeded, on a CPU or a GPU."""

import copy
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from edgewright.export.reference.losses import normalized
from edgewright.export.reference.scenes import Batch, Collection, varied

LossOf = Callable[[nn.Module, Tensor, Batch], Tensor]


@dataclass(frozen=True)
class Schedule:
    """How long and how fast the network learns; the rate rises over `warmup` steps and then falls along a cosine.

    With `minutes` it ends after that time, the cosine too, when the steps are not done before.
    """

    steps: int = 5000
    batch: int = 8
    rate: float = 4e-3
    warmup: int = 100
    weight_decay: float = 0.02
    averaging: float = 0.998
    minutes: float | None = None

    def progress(self, step: int, elapsed_s: float) -> float:
        """What is done of the whole training, 0 to 1."""
        spent = elapsed_s / (60 * self.minutes) if self.minutes else 0.0
        return min(1.0, max(step / max(self.steps, 1), spent))

    def share(self, step: int, progress: float) -> float:
        """The share of the full rate."""
        return min(1.0, (step + 1) / self.warmup) * (0.02 + 0.98 * (1 + math.cos(math.pi * progress)) / 2)


@dataclass(frozen=True)
class Trained:
    """The running average of a network's weights, in evaluation mode, and after how many steps."""

    network: nn.Module
    steps: int


def train(
    make: Callable[[], nn.Module],
    loss_of: LossOf,
    scenes: Collection,
    schedule: Schedule,
    *,
    seed: int,
    on_step: Callable[[int, float], None] | None = None,
) -> Trained:
    """The network of `make` trained on the scenes, where they are in memory.

    The same seed, scenes, schedule without `minutes`, library and number of threads give the same weights on a CPU.
    `on_step` gets the step and its loss.
    """
    rng = np.random.default_rng(seed)
    torch.manual_seed(seed)
    network = make().to(scenes.tensors.device, memory_format=torch.channels_last).train()
    average = copy.deepcopy(network)
    optimizer = torch.optim.AdamW(_groups(network, schedule), lr=schedule.rate)
    started, step = time.monotonic(), 0
    while (progress := schedule.progress(step, time.monotonic() - started)) < 1:
        for group in optimizer.param_groups:
            group["lr"] = schedule.rate * schedule.share(step, progress)
        value = loss_of(network, *_inputs(scenes, rng, schedule.batch))
        optimizer.zero_grad()
        value.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 10.0)
        optimizer.step()
        _follow(average, network, min(schedule.averaging, (1 + step) / (10 + step)))
        if on_step is not None:
            on_step(step, float(value.detach()))
        step += 1
    return Trained(average.eval(), step)


def _inputs(scenes: Collection, rng: np.random.Generator, size: int) -> tuple[Tensor, Batch]:
    indices = rng.integers(0, len(scenes), size)
    batch = varied(scenes.batch(indices.tolist()), scenes.placement, rng)
    return normalized(batch.pictures, scenes.spec).contiguous(memory_format=torch.channels_last), batch


def _groups(network: nn.Module, schedule: Schedule) -> list[dict[str, object]]:
    """Weights of convolutions decay; biases and normalization do not."""
    weights = [p for p in network.parameters() if p.ndim > 1]
    rest = [p for p in network.parameters() if p.ndim <= 1]
    return [{"params": weights, "weight_decay": schedule.weight_decay}, {"params": rest, "weight_decay": 0.0}]


@torch.no_grad()
def _follow(average: nn.Module, network: nn.Module, share: float) -> None:
    """Move the average towards the network; counters of normalization are copied."""
    pairs = list(zip(average.state_dict().values(), network.state_dict().values(), strict=True))
    kept, new = zip(*[pair for pair in pairs if pair[0].is_floating_point()], strict=True)
    torch._foreach_lerp_(kept, new, 1 - share)
    for counter, newer in pairs:
        if not counter.is_floating_point():
            counter.copy_(newer)
