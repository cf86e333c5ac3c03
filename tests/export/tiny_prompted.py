"""Seeded promptable networks, small enough to be exported in a test."""

from typing import Any

import torch

SIDE = 128
_HIDDEN = 32


def tiny_sam2() -> Any:
    """A SAM 2 for pictures of 128 x 128 with random weights, whose masks depend on image and prompts."""
    from transformers import Sam2Config, Sam2HieraDetConfig, Sam2Model, Sam2VisionConfig

    backbone = Sam2HieraDetConfig(
        hidden_size=16,
        image_size=[SIDE, SIDE],
        window_positional_embedding_background_size=[4, 4],
        blocks_per_stage=[1, 1, 2, 1],
        embed_dim_per_stage=[16, 32, 64, 128],
        num_attention_heads_per_stage=[1, 2, 4, 8],
        window_size_per_stage=[8, 4, 8, 4],
        global_attention_blocks=[3],
    )
    vision = Sam2VisionConfig(
        backbone_config=backbone, backbone_channel_list=[128, 64, 32, 16], fpn_hidden_size=_HIDDEN
    )
    return _seeded(Sam2Model, Sam2Config(vision_config=vision, **_parts()))


def tiny_edgetam() -> Any:
    """An EdgeTAM for pictures of 128 x 128 with random weights and a small RepViT."""
    from transformers import EdgeTamConfig, EdgeTamModel, EdgeTamVisionConfig, TimmWrapperConfig

    backbone = TimmWrapperConfig(
        architecture="repvit_m0_9",
        model_args={
            "in_chans": 3,
            "features_only": True,
            "out_indices": [0, 1, 2, 3],
            "embed_dim": [16, 32, 48, 64],
            "depth": [1, 1, 1, 1],
        },
    )
    vision = EdgeTamVisionConfig(
        backbone_config=backbone, backbone_channel_list=[64, 48, 32, 16], fpn_hidden_size=_HIDDEN
    )
    return _seeded(EdgeTamModel, EdgeTamConfig(vision_config=vision, **_parts()))


def _parts() -> dict[str, Any]:
    prompt_encoder = {"hidden_size": _HIDDEN, "image_size": SIDE}
    decoder = {"hidden_size": _HIDDEN, "mlp_dim": 64, "num_attention_heads": 4, "iou_head_hidden_dim": 32}
    return {"prompt_encoder_config": prompt_encoder, "mask_decoder_config": decoder}


def _seeded(kind: Any, config: Any) -> Any:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    network = kind(config).eval()
    _liven(network)
    _settle(network.vision_encoder)
    return network


def _liven(network: Any) -> None:
    """Larger weights than a training starts with, so that prompts matter, and masks of both signs."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for name, parameter in network.named_parameters():
            if "norm" in name or name.endswith("bias"):
                continue
            if "pos_embed" in name or name.endswith("no_memory_embedding"):
                parameter.normal_(0, 0.5, generator=generator)
            elif parameter.ndim >= 2:
                fan_in = parameter[0].numel()
                gain = 1.0 if "embed" not in name and "token" not in name else fan_in**0.5
                if "q_proj" in name:  # attention that is almost a choice makes a leap of every rounding
                    gain = 0.3
                parameter.normal_(0, gain / fan_in**0.5, generator=generator)


def _settle(encoder: Any) -> None:
    """Statistics of batch normalisation that fit the weights."""
    norms = [module for module in encoder.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    for norm in norms:
        norm.momentum = None
        norm.train().reset_running_stats()
    with torch.no_grad():
        encoder(torch.randn(4, 3, SIDE, SIDE, generator=torch.Generator().manual_seed(2)))
    encoder.eval()
