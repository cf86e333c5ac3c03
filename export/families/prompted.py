"""SAM 2 and EdgeTAM of transformers, for pictures or videos: an image encoder and a decoder of points and boxes."""

from typing import Any

import torch

from edgewright.export.families import Imported
from edgewright.export.labels import LabelSet
from edgewright.export.model_spec import requested_labels
from edgewright.export.request import ExportRequest
from edgewright.export.torch_source import Answer, TorchGraph, TorchNetwork, WrappedGraphs
from edgewright.export.transformers_input import preprocess_of
from edgewright.runtime.errors import UsageError
from edgewright.runtime.spec import HeadSpec, PostprocessSpec, PromptSpec

# A box, which takes two, and ten points.
SLOTS = 12
# Kinds of networks and their classes, by name: importing them would cost every export the import of transformers.
PROMPTABLE = {
    "sam2": "Sam2Model",
    "sam2_video": "Sam2VideoModel",
    "edgetam": "EdgeTamModel",
    "edgetam_video": "EdgeTamVideoModel",
}
_MULTIPLE = 32
_EMBEDDING, _FEATURES = "image_embedding", ("features_stride8", "features_stride4")
# Far enough below every attention score to vanish in the softmax, and within the range of half precision.
_NEVER = -6e4


def accepts(module: Any) -> bool:
    """Whether the module is a SAM 2 or an EdgeTAM."""
    return any(base.__name__ in PROMPTABLE.values() for base in type(module).__mro__)


def build_graphs(network: TorchNetwork, request: ExportRequest) -> WrappedGraphs:
    """Image → embedding and two finer maps; these and the prompts of one object → mask logits and their qualities.

    Prompts are `points` [1, 12, 2] in pixels of the input tensor and `point_labels` [1, 12]: 1 on the object, 0 not on it,
    2 and 3 the corners of a box, -1 an empty slot, which has no influence. Of the masks [1, 4, h, w] the first is the answer,
    the others are readings of an ambiguous prompt; qualities [1, 4] are predicted overlaps with the object.
    """
    module = network.module
    side = _side(network, request)
    _set_side(module, side)
    encoder, image = _ImageEncoder(module).eval(), torch.zeros(1, 3, side, side)
    with torch.no_grad():
        levels = dict(zip((_EMBEDDING, *_FEATURES), encoder(image), strict=True))
    prompts = {"points": torch.zeros(1, SLOTS, 2), "point_labels": torch.full((1, SLOTS), -1, dtype=torch.int32)}
    decoder = _MaskDecoder(module, side, levels[_EMBEDDING].shape[-1]).eval()
    return WrappedGraphs(
        graphs=(
            TorchGraph("image_encoder", encoder, {"images": image}, tuple(levels)),
            TorchGraph("mask_decoder", decoder, {**levels, **prompts}, ("masks", "quality")),
        ),
        imported=Imported(
            task="prompted",
            head=HeadSpec(
                kind="prompted", outputs={"masks": "masks", "quality": "quality"}, prompts=_prompt_spec(module)
            ),
            # Whatever edges its preprocessor names, the prompts' own coordinates are those of a stretched square.
            preprocess=preprocess_of(network, request).model_copy(
                update={"size_hw": (side, side), "resize": "stretch"}
            ),
            # A prompt asks for one mask, and gets it however sure the network is.
            postprocess=PostprocessSpec(conf_threshold=0.0),
            classes=1,
        ),
        labels=LabelSet(("object",)) if request.labels is None else requested_labels(request, 1),
        reference=lambda images: _encoded(module, images),
    )


def _side(network: TorchNetwork, request: ExportRequest) -> int:
    side = int(network.module.prompt_encoder.input_image_size)
    height, width = request.size or (side, side)
    if height != width or height % _MULTIPLE:
        raise UsageError(
            f"--size {height} {width}: {network.source} takes squares, whose side is a multiple of {_MULTIPLE}; "
            f"it was trained with {side} {side}"
        )
    return height


def _set_side(module: Any, side: int) -> None:
    """Make the network take pictures of another size, as transformers would build it for a config of that size."""
    encoder = module.prompt_encoder
    grid = side * encoder.image_embedding_size[0] // int(encoder.input_image_size)
    encoder.input_image_size, encoder.image_embedding_size = side, (grid, grid)
    encoder.mask_input_size = (4 * grid, 4 * grid)
    module.backbone_feature_sizes = [[4 * grid, 4 * grid], [2 * grid, 2 * grid], [grid, grid]]


def _prompt_spec(module: Any) -> PromptSpec:
    decoder = module.mask_decoder
    if not decoder.dynamic_multimask_via_stability:
        return PromptSpec()
    return PromptSpec(
        stability_margin=float(decoder.dynamic_multimask_stability_delta),
        least_stability=float(decoder.dynamic_multimask_stability_thresh),
    )


def _encoded(module: Any, images: Any) -> Answer:
    """What the network's own code answers on images [1, 3, H, W] to points [1, P, 2] with labels [1, P], none of them empty."""
    with torch.no_grad():
        maps = module.get_image_features(images, return_dict=True).fpn_hidden_states
        maps = [*maps[:-1], maps[-1] + module.no_memory_embedding]
    sizes = module.backbone_feature_sizes
    levels = [level.permute(1, 2, 0).reshape(1, -1, *size) for level, size in zip(maps, sizes, strict=True)]
    return lambda points, labels: _answer(module, levels, points, labels)


def _answer(module: Any, levels: list[Any], points: Any, labels: Any) -> dict[str, Any]:
    with torch.no_grad():
        sparse, dense = module.prompt_encoder(*_as_prompts(points, labels), None)
        answers = [_decode(module, levels, sparse, dense, alternatives=several) for several in (False, True)]
    masks, quality = (torch.cat([answer[part] for answer in answers], dim=2)[0] for part in (0, 1))
    return {_EMBEDDING: levels[2], _FEATURES[0]: levels[1], _FEATURES[1]: levels[0], "masks": masks, "quality": quality}


def _as_prompts(points: Any, labels: Any) -> tuple[Any, Any, Any]:
    corners, others = points[labels >= 2], labels < 2
    boxes = corners.reshape(1, 1, 4) if len(corners) else None
    if not bool(others.any()):
        return None, None, boxes
    return points[others][None, None], labels[others][None, None], boxes


def _decode(module: Any, levels: list[Any], sparse: Any, dense: Any, *, alternatives: bool) -> Any:
    decoder = module.mask_decoder
    by_stability, decoder.dynamic_multimask_via_stability = decoder.dynamic_multimask_via_stability, False
    try:
        return decoder(
            image_embeddings=levels[-1],
            image_positional_embeddings=module.get_image_wide_positional_embeddings(),
            sparse_prompt_embeddings=sparse,
            dense_prompt_embeddings=dense,
            multimask_output=alternatives,
            high_resolution_features=levels[:-1],
        )
    finally:
        decoder.dynamic_multimask_via_stability = by_stability


class _ImageEncoder(torch.nn.Module):
    def __init__(self, network: Any) -> None:
        super().__init__()
        self.vision_encoder = network.vision_encoder
        self.conv_s0, self.conv_s1 = network.mask_decoder.conv_s0, network.mask_decoder.conv_s1
        # What stands for the memory where there is no frame before.
        self.no_memory = torch.nn.Buffer(network.no_memory_embedding.detach().reshape(1, -1, 1, 1))

    def forward(self, images: Any) -> Any:
        fine, middle, coarse = self.vision_encoder(images).fpn_hidden_states
        return coarse + self.no_memory, self.conv_s1(middle), self.conv_s0(fine)


class _MaskDecoder(torch.nn.Module):
    """The network's decoder on a fixed number of prompts: the empty ones are hidden from every attention."""

    def __init__(self, network: Any, side: int, cells: int) -> None:
        super().__init__()
        self.decoder, self.prompts = network.mask_decoder, network.prompt_encoder
        self.side, self.masks = side, self.decoder.num_mask_tokens
        positions = network.get_image_wide_positional_embeddings().detach()
        self.positions = torch.nn.Buffer(positions.flatten(2).transpose(1, 2).unsqueeze(1))
        self.cells = cells

    def forward(
        self, image_embedding: Any, features_stride8: Any, features_stride4: Any, points: Any, labels: Any
    ) -> Any:
        tokens, hidden = self._tokens(points, labels)
        image = image_embedding + self.prompts.no_mask_embed.weight.reshape(1, -1, 1, 1)
        tokens, image = self._attend(tokens, image.flatten(2).transpose(1, 2).unsqueeze(1), hidden)
        image = image.transpose(2, 3).reshape(1, -1, self.cells, self.cells)
        decoder = self.decoder
        image = decoder.activation(decoder.upscale_layer_norm(decoder.upscale_conv1(image) + features_stride8))
        image = decoder.activation(decoder.upscale_conv2(image) + features_stride4)
        # In the order that `_tokens` puts them: visibility, quality, masks, prompts.
        weights = [mlp(tokens[:, 0, 2 + i]) for i, mlp in enumerate(decoder.output_hypernetworks_mlps)]
        masks = torch.stack(weights, dim=1) @ image.flatten(2)
        return masks.reshape(1, self.masks, *image.shape[2:]), decoder.iou_prediction_head(tokens[:, 0, 1])

    def _tokens(self, points: Any, labels: Any) -> tuple[Any, Any]:
        """Tokens [1, 1, T, C], and what is added to the score of every token that is attended to [1, 1, 1, T]."""
        prompts, decoder = self.prompts, self.decoder
        # SAM's coordinates count from the centre of the first pixel.
        places = prompts.shared_embedding((points.unsqueeze(1) + 0.5) / self.side)
        places = places + prompts.point_embed(labels.clamp(min=0)).unsqueeze(1)
        own = torch.cat([decoder.obj_score_token.weight, decoder.iou_token.weight, decoder.mask_tokens.weight])
        # Wherever there is a prompt, one that says nothing follows it: the network was trained so.
        end = prompts.not_a_point_embed.weight
        tokens = torch.cat([own[None, None], places, end[None, None]], dim=2)
        empty = torch.where(labels < 0, _NEVER, 0.0)
        hidden = torch.cat([torch.zeros(1, len(own)), empty, torch.zeros(1, len(end))], dim=1)
        return tokens, hidden[:, None, None]

    def _attend(self, tokens: Any, image: Any, hidden: Any) -> tuple[Any, Any]:
        """The decoder's two-way transformer, in which no empty prompt is attended to."""
        transformer, queries = self.decoder.transformer, tokens
        for block in transformer.layers:
            looking = queries if block.skip_first_layer_pe else queries + tokens
            seen = block.self_attn(query=looking, key=looking, value=queries, attention_similarity=hidden)[0]
            queries = block.layer_norm1(seen if block.skip_first_layer_pe else queries + seen)
            seen = block.cross_attn_token_to_image(query=queries + tokens, key=image + self.positions, value=image)[0]
            queries = block.layer_norm2(queries + seen)
            queries = block.layer_norm3(queries + block.mlp(queries))
            seen = block.cross_attn_image_to_token(
                query=image + self.positions, key=queries + tokens, value=queries, attention_similarity=hidden
            )[0]
            image = block.layer_norm4(image + seen)
        seen = transformer.final_attn_token_to_image(query=queries + tokens, key=image + self.positions, value=image)[0]
        return transformer.layer_norm_final_attn(queries + seen), image
