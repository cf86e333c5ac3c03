"""The imitation as a module that a process of its own can import; FAKE_TENSORRT_VERSION says which."""

import os
import sys

from tests.fake_tensorrt.imitation import imitation

_TRT = imitation(os.environ.get("FAKE_TENSORRT_VERSION", "10.3.0"))
sys.modules[__name__].__dict__.update({k: v for k, v in vars(_TRT).items() if k != "__name__"})
