"""Networks of transformers with a handful of channels, random but decided about classes."""

from pathlib import Path
from typing import Any

import torch
import transformers as hf
from tests.export.random_networks import Spreads, random_network
from transformers.models.auto import modeling_auto

from edgewright.runtime.conveyor import render_scene

SIZE = (64, 96)
SIDE = 64
IMAGES = [render_scene(9, index, SIZE).image for index in range(3)]
SQUARE_IMAGES = [render_scene(9, index, (SIDE, SIDE)).image for index in range(3)]
LABELS = ("bolt", "nut", "washer", "clip", "belt")

_STAGES: dict[str, Any] = {
    "embedding_size": 8, "hidden_sizes": [8, 16, 16, 32], "depths": [1, 1, 1, 1], "layer_type": "basic",
}  # fmt: skip
_LAST, _LAST_THREE = ["stage4"], ["stage2", "stage3", "stage4"]
_SMALL: dict[str, Any] = {
    "num_queries": 20, "d_model": 32, "decoder_layers": 2, "decoder_ffn_dim": 32, "decoder_attention_heads": 4,
    "encoder_ffn_dim": 32, "encoder_attention_heads": 4,
}  # fmt: skip
_HYBRID: dict[str, Any] = {
    **_SMALL, "encoder_hidden_dim": 32, "decoder_in_channels": [32, 32, 32], "hidden_expansion": 0.5,
}  # fmt: skip
_HGNET: dict[str, Any] = {
    "stem_channels": [3, 8, 8], "stage_in_channels": [8, 16, 32, 32], "stage_mid_channels": [8, 8, 16, 16],
    "stage_out_channels": [16, 32, 32, 32], "hidden_sizes": [16, 32, 32, 32], "stage_num_blocks": [1, 1, 1, 1],
    "stage_numb_of_layers": [1, 1, 1, 1], "out_features": _LAST_THREE,
}  # fmt: skip
_SWIN: dict[str, Any] = {
    "image_size": SIDE, "embed_dim": 16, "depths": [1, 1, 1, 1], "num_heads": [2, 2, 2, 2], "window_size": 4,
    "out_features": ["stage1", "stage2", "stage3", "stage4"],
}  # fmt: skip

_CLASSES: Spreads = {
    "class_labels_classifier*": (-1.0, 2.0),
    "class_embed*": (-1.0, 2.0),
    "model.decoder.class_embed*": (-1.0, 2.0),
    "class_predictor": (0.0, 3.0),
}


def detector(kind: str) -> Any:
    """A detector of that `model_type`, with five classes."""
    return _calibrated(modeling_auto.MODEL_FOR_OBJECT_DETECTION_MAPPING_NAMES[kind], _detector_config(kind), IMAGES)


def panoptic(kind: str) -> Any:
    """A network of queries of that `model_type` for pictures of 64 x 64, with five classes."""
    name = modeling_auto.MODEL_FOR_UNIVERSAL_SEGMENTATION_MAPPING_NAMES[kind]
    return _calibrated(name, _panoptic_config(kind), SQUARE_IMAGES)


def saved(network: Any, folder: Path) -> Path:
    """The folder, with config.json and model.safetensors in it."""
    network.save_pretrained(folder)
    return folder


def _calibrated(name: str, config: Any, images: list[Any]) -> Any:
    torch.set_num_threads(1)
    config.id2label = dict(enumerate(LABELS))
    config.label2id = {label: index for index, label in enumerate(LABELS)}
    return random_network(lambda: getattr(hf, name)(config), images, _CLASSES)


def _detector_config(kind: str) -> Any:
    if kind == "yolos":
        return hf.YolosConfig(
            hidden_size=32, num_hidden_layers=2, num_attention_heads=4, intermediate_size=32, image_size=list(SIZE),
            num_detection_tokens=20,
        )  # fmt: skip
    if kind == "d_fine":
        return hf.DFineConfig(
            backbone_config=hf.HGNetV2Config(**_HGNET), encoder_in_channels=[32, 32, 32], decoder_n_points=[2, 2, 2], **_HYBRID,
        )  # fmt: skip
    if kind in ("rt_detr", "rt_detr_v2"):
        backbone = hf.RTDetrResNetConfig(**_STAGES, out_features=_LAST_THREE)
        config = hf.RTDetrConfig if kind == "rt_detr" else hf.RTDetrV2Config
        return config(backbone_config=backbone, encoder_in_channels=[16, 16, 32], **_HYBRID)
    config = {
        "detr": hf.DetrConfig,
        "conditional_detr": hf.ConditionalDetrConfig,
        "deformable_detr": hf.DeformableDetrConfig,
    }[kind]
    stages = _LAST_THREE if kind == "deformable_detr" else _LAST
    return config(backbone_config=hf.ResNetConfig(**_STAGES, out_features=stages), encoder_layers=1, **_SMALL)


def _panoptic_config(kind: str) -> Any:
    if kind == "eomt":
        return hf.EomtConfig(
            hidden_size=32, num_hidden_layers=3, num_blocks=2, num_attention_heads=4, image_size=SIDE, patch_size=8, num_queries=12,
            num_upscale_blocks=1, mlp_ratio=2,
        )  # fmt: skip
    decoder = {key: value for key, value in _SMALL.items() if key != "num_queries"}
    if kind == "maskformer":
        return hf.MaskFormerConfig(
            backbone_config=hf.SwinConfig(**_SWIN), fpn_feature_size=32, mask_feature_size=32,
            decoder_config=hf.DetrConfig(num_queries=12, encoder_layers=1, **decoder),
        )  # fmt: skip
    return hf.Mask2FormerConfig(
        backbone_config=hf.SwinConfig(**_SWIN), feature_size=32, mask_feature_size=32, hidden_dim=32,
        encoder_feedforward_dim=32, encoder_layers=1, decoder_layers=2, num_attention_heads=4, dim_feedforward=32, num_queries=12,
    )  # fmt: skip
