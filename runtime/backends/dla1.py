"""The second DLA of a Jetson, by TensorRT: slower than its GPU, and leaves that free; layers it lacks run on the GPU."""

from functools import partial

from edgewright.runtime.backends import trt

open_backend = partial(trt.open_backend, dla_core=1)
unavailable = trt.unavailable
