"""Small random networks of the families that have no larger ones at hand, each as a recipe that `edgewright export` takes."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import cv2
import torch
from safetensors.torch import save_file
from tests.export.random_networks import Spreads, random_network
from tests.export.tiny_prompted import tiny_edgetam, tiny_sam2
from tests.export.tiny_transformers import LABELS, SIDE, SIZE, detector, panoptic, saved

from edgewright.export.networks.grid_yolo import GridYolo
from edgewright.export.networks.segnet import SegNet
from edgewright.export.parity import parity_images
from edgewright.export.reference.detector import Detector, WithProbabilities
from edgewright.runtime.conveyor import render_scene

PICTURE = (128, 160)
# As random_network feeds what it calibrates.
_FED: dict[str, Any] = {"color": "rgb", "scale": 1 / 255, "mean": [0, 0, 0], "std": [1, 1, 1]}

Recipe = dict[str, Any]


def recipe(name: str, folder: Path) -> Path:
    """The file of a recipe in the folder, with what it names beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(json.dumps({"name": name, **NETWORKS[name](folder)}), encoding="utf-8")  # JSON is YAML
    return path


def _detector(kind: str) -> Callable[[Path], Recipe]:
    def build(folder: Path) -> Recipe:
        saved(detector(kind), folder / "network")
        fed = {"size": {"height": SIZE[0], "width": SIZE[1]}, "do_normalize": False, "image_mean": [0.5] * 3}
        (folder / "network" / "preprocessor_config.json").write_text(json.dumps(fed), encoding="utf-8")
        return {"source": f"transformers/{folder / 'network'}", "conf_threshold": 0.2}

    return build


def _panoptic(kind: str) -> Callable[[Path], Recipe]:
    def build(folder: Path) -> Recipe:
        saved(panoptic(kind), folder / "network")
        return {
            "source": f"transformers/{folder / 'network'}", "size": [SIDE, SIDE], "thing_ids": [0, 1, 2],
            "conf_threshold": 0.35, "overlap_threshold": 0.05,
        }  # fmt: skip

    return build


def _unet(encoder: str) -> Callable[[Path], Recipe]:
    def build(folder: Path) -> Recipe:
        import segmentation_models_pytorch as smp

        network = calibrated(
            lambda: smp.Unet(encoder, encoder_weights=None, classes=len(LABELS)), {"segmentation_head.0": (0.0, 2.0)}
        )
        state = {name: value.contiguous().clone() for name, value in network.state_dict().items()}
        save_file(state, str(folder / "random.safetensors"))
        weights = str(folder / "random.safetensors")
        return {"source": f"smp/Unet:{encoder}", "weights": weights, **_labelled(folder), **_FED}

    return build


def _factory(name: str, family: str | None = None, **options: Any) -> Callable[[Path], Recipe]:
    def build(folder: Path) -> Recipe:
        known: Recipe = {"family": family, **_labelled(folder), **_FED, **options} if family else {}
        return {"source": f"tests.export.tiny_families:{name}", **known}

    return build


def _labelled(folder: Path) -> Recipe:
    (folder / "labels.txt").write_text("\n".join(LABELS) + "\n", encoding="utf-8")
    return {"labels": str(folder / "labels.txt"), "size": list(PICTURE)}


def segnet() -> torch.nn.Module:
    return calibrated(lambda: SegNet(len(LABELS), width=8, depth=4), {"classifier": (0.0, 2.0)})


def grid_yolo() -> torch.nn.Module:
    return calibrated(lambda: GridYolo(len(LABELS), width=8), {"predictor": (0.0, 2.0)})


def yolox() -> torch.nn.Module:
    """A detector in the form of YOLOX: rows in units of the grid, objectness and classes as probabilities."""
    spreads = {"heads.*.where.1": (0.0, 1.0), "heads.*.what.1": (0.0, 2.0)}
    network: Any = calibrated(lambda: Detector(len(LABELS), width=16, neck=16), spreads)
    return WithProbabilities(network, PICTURE).eval()


def sam2() -> torch.nn.Module:
    network: torch.nn.Module = tiny_sam2()
    return network


def edgetam() -> torch.nn.Module:
    network: torch.nn.Module = tiny_edgetam()
    return network


def calibrated(make: Callable[[], torch.nn.Module], spreads: Spreads) -> torch.nn.Module:
    """The network with seeded weights, normalised for scenes and for the pictures of the parity, which may lie far from them."""
    torch.set_num_threads(1)
    images = [render_scene(9, index, PICTURE).image for index in range(2)]
    images += [cv2.resize(image, PICTURE[::-1]).astype("uint8") for image in parity_images(PICTURE).values()]
    network: torch.nn.Module = random_network(make, images, spreads)
    return network


NETWORKS: dict[str, Callable[[Path], Recipe]] = {
    "detr": _detector("detr"),
    "rt_detr": _detector("rt_detr"),
    "rt_detr_v2": _detector("rt_detr_v2"),
    "d_fine": _detector("d_fine"),
    "mask2former": _panoptic("mask2former"),
    "eomt": _panoptic("eomt"),
    "unet_resnet18": _unet("resnet18"),
    "unet_inceptionresnetv2": _unet("inceptionresnetv2"),
    "unet_densenet121": _unet("densenet121"),
    "segnet": _factory("segnet", "plain_segmenter", resize="stretch"),
    "grid_yolo": _factory("grid_yolo", "grid_yolo"),
    "yolox": _factory("yolox", "yolox"),
    "sam2": _factory("sam2"),
    "edgetam": _factory("edgetam"),
}
