"""A camera at the CSI connector of a Jetson: `csi:0?size=720x1280&fps=30&flip=0`."""

from edgewright.runtime.errors import UsageError
from edgewright.runtime.sources import Source
from edgewright.runtime.sources.gstreamer import open_pipeline
from edgewright.runtime.uri import positive_number, size_hw, split_options


def from_uri(text: str) -> Source:
    """The sensor with the number `text`, through NVIDIA's `nvarguscamerasrc`; `flip` is its method of turning, 0 to 7."""
    location, options = split_options("source csi", text, ("size", "fps", "flip"))
    if not location.isdecimal():
        raise UsageError(f"source csi wants the number of a sensor, such as csi:0; got '{location}'")
    return open_pipeline(f"csi:{int(location)}", pipeline(int(location), options))


def pipeline(sensor: int, options: dict[str, str]) -> str:
    """The GStreamer pipeline: the picture stays in the memory of the GPU until it is converted to the processor's."""
    height, width = size_hw("option size of source csi", options.get("size", "720x1280"))
    fps = positive_number("option fps of source csi", options.get("fps", "30"), at_most=1000)
    flip = options.get("flip", "0")
    if flip not in tuple("01234567"):
        raise UsageError(f"option flip of source csi must be 0 to 7, as nvvidconv's flip-method; got '{flip}'")
    return (
        f"nvarguscamerasrc sensor-id={sensor} ! video/x-raw(memory:NVMM),width={width},height={height},"
        f"framerate={round(fps * 1000)}/1000,format=NV12 ! nvvidconv flip-method={flip} ! video/x-raw,format=BGRx"
    )
