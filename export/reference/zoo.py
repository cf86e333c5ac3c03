"""The small reference networks, as functions without arguments; configs/reference holds their weights.

Each is of the class that its family exports, over one backbone, for the six parts of the conveyor.
"""

from collections import OrderedDict
from pathlib import Path
from typing import Any, TypeVar

from torch import Tensor, nn
from torch.nn.functional import interpolate
from torchvision.models.detection import FasterRCNN, MaskRCNN
from torchvision.models.detection.anchor_utils import AnchorGenerator, DefaultBoxGenerator
from torchvision.models.detection.faster_rcnn import FastRCNNPredictor
from torchvision.models.detection.mask_rcnn import MaskRCNNHeads, MaskRCNNPredictor
from torchvision.models.detection.rpn import RPNHead
from torchvision.models.detection.ssd import SSD, SSDHead
from torchvision.models.segmentation import FCN, DeepLabV3
from torchvision.models.segmentation.deeplabv3 import ASPP
from torchvision.models.segmentation.fcn import FCNHead
from torchvision.ops import MultiScaleRoIAlign

from edgewright import configs
from edgewright.export.networks.unet import UNet
from edgewright.export.panoptic_network import PanopticPair
from edgewright.export.reference.detector import Detector
from edgewright.export.reference.layers import BoxHead, Dilated, Last, Pyramid, conv
from edgewright.export.region_networks import RCNN, FastRCNN, RegionWarp
from edgewright.export.region_networks import BoxHead as RegionHead
from edgewright.export.torch_weights import load_state, read_state
from edgewright.runtime.conveyor import LABELS

T = TypeVar("T", bound=nn.Module)

# With the background.
CLASSES = len(LABELS) + 1
# A quarter less than the 480 x 640 pixels of the conveyor, and all sides multiples of 32.
SIZE_HW = (384, 512)
SMALL_HW = (240, 320)
# Masks of rings and springs need finer features than their boxes do.
FINE_HW = (576, 768)

_CHANNELS = 40
_BOX_WIDTH = 96
# Half of all parts are about 25 to 60 pixels wide where the input is 384 pixels high.
_ANCHORS = (16, 32, 64, 128)


def yolo() -> Detector:
    """An anchor-free detector in YOLOX's layout."""
    return Detector(len(LABELS))


def ssd() -> SSD:
    """SSD over maps at strides 8 to 64."""
    boxes = DefaultBoxGenerator([[2, 3]] * 4, scales=[0.04, 0.08, 0.16, 0.3, 0.5])
    backbone = Pyramid(64, finest=8, further=True)
    head = SSDHead([64] * 4, boxes.num_anchors_per_location(), CLASSES)
    return SSD(backbone, boxes, SIZE_HW[::-1], CLASSES, head=head, nms_thresh=0.5, detections_per_img=100)


def faster_rcnn() -> FasterRCNN:
    """Faster R-CNN over a pyramid of strides 4 to 32."""
    return FasterRCNN(Pyramid(_CHANNELS), **_two_stage(SIZE_HW))


def mask_rcnn() -> MaskRCNN:
    """The same with masks of 28 x 28."""
    return MaskRCNN(
        Pyramid(_CHANNELS),
        mask_roi_pool=_roi_pool(14, coarser_from=224),
        mask_head=MaskRCNNHeads(_CHANNELS, (_CHANNELS,) * 4, 1, norm_layer=nn.BatchNorm2d),
        mask_predictor=MaskRCNNPredictor(_CHANNELS, _CHANNELS, CLASSES),
        **_two_stage(FINE_HW),
    )


def rcnn() -> RCNN:
    """R-CNN: every region, warped to 64 x 64, through the backbone."""
    head = RegionHead(Last.out_channels * 4, classes=len(LABELS), hidden=(_BOX_WIDTH,))
    return RCNN(Last(), RegionWarp((64, 64), padding=8), head, size_hw=SIZE_HW)


def fast_rcnn() -> FastRCNN:
    """Fast R-CNN: the pool and the head of the Faster R-CNN above."""
    head = RegionHead(56 * 16, classes=len(LABELS), hidden=(_BOX_WIDTH,))
    reduced = nn.Sequential(conv(_CHANNELS, 56, 3, 2), head)
    return FastRCNN(Pyramid(_CHANNELS), _roi_pool(7), reduced, size_hw=SIZE_HW)


def fcn() -> FCN:
    """FCN at stride 8."""
    return FCN(Dilated(), FCNHead(Dilated.out_channels, CLASSES))


def deeplab() -> DeepLabV3:
    """DeepLabV3 with atrous pyramid pooling at stride 8."""
    width = 32
    layers = OrderedDict(
        pool=ASPP(Dilated.out_channels, [4, 8, 12], width),
        smooth=conv(width, width, 3),
        last=nn.Conv2d(width, CLASSES, 1),
    )
    return DeepLabV3(Dilated(), nn.Sequential(layers))


def unet() -> UNet:
    """U-Net with three poolings."""
    return UNet(CLASSES, width=16, depth=3)


def panoptic() -> PanopticPair:
    """The Mask R-CNN for the parts and the FCN for the background, with the weights of both, which are kept once."""
    detector, semantic = trained("mask_rcnn", mask_rcnn()), trained("fcn", fcn())
    return PanopticPair(detector, _AtSize(semantic), stuff_channels=(0,), labels=(*LABELS, "background"))


def trained(name: str, network: T) -> T:
    """The network with the weights that ship for `name`."""
    path = Path(configs.__file__).parent / "reference" / f"{name}.safetensors"
    load_state(network, read_state(path), source=name, path=path)
    return network


class _AtSize(nn.Module):
    """A segmentation network that sees pictures of any size as large as those that it was trained on."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.network = network

    def forward(self, images: Tensor) -> Any:
        return self.network(interpolate(images, SIZE_HW, mode="bilinear", align_corners=False))


def _two_stage(size_hw: tuple[int, int]) -> dict[str, Any]:
    larger = size_hw[0] / SIZE_HW[0]
    sizes = tuple((int(side * larger),) for side in _ANCHORS)
    return {
        "min_size": size_hw[0],
        "max_size": size_hw[1],
        "rpn_anchor_generator": AnchorGenerator(sizes, ((0.5, 1.0, 2.0),) * len(sizes)),
        "rpn_head": RPNHead(_CHANNELS, 3),
        "rpn_pre_nms_top_n_train": 500,
        "rpn_post_nms_top_n_train": 200,
        "rpn_pre_nms_top_n_test": 200,
        "rpn_post_nms_top_n_test": 100,
        "rpn_batch_size_per_image": 128,
        "box_roi_pool": _roi_pool(7, coarser_from=int(112 * larger)),
        "box_head": BoxHead(_CHANNELS, _BOX_WIDTH),
        "box_predictor": FastRCNNPredictor(_BOX_WIDTH, CLASSES),
        "box_batch_size_per_image": 64,
    }


def _roi_pool(side: int, *, coarser_from: int = 112) -> nn.Module:
    return MultiScaleRoIAlign(["0", "1", "2", "3"], side, 2, canonical_scale=coarser_from)
