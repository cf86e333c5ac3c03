"""What every test may use: the real models and images, where this machine has them."""

import os
import signal
from pathlib import Path

import pytest
from hypothesis import settings

# Two workers share the cores; an engine that takes them all slows both. Read when NumPy or torch is first imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# ONNX Runtime sends usage data to its maker unless this is set before it loads.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")

# A loaded machine is slow, which is no failure.
settings.register_profile("edgewright", deadline=None, derandomize="CI" in os.environ)
settings.load_profile("edgewright")

# What a shell starts in the background ignores interrupts, and so would every process that a test starts and interrupts.
signal.signal(signal.SIGINT, signal.default_int_handler)

CHECKOUT = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def assets() -> Path:
    """The folder with real models, images and videos: EDGEWRIGHT_ASSETS, else `shared` beside the checkout."""
    folder = Path(os.environ.get("EDGEWRIGHT_ASSETS") or CHECKOUT.parent / "shared")
    if not (folder / "models").is_dir():
        pytest.skip(f"no real models and images at {folder}; set EDGEWRIGHT_ASSETS to their folder")
    return folder


@pytest.fixture(scope="session")
def checkout() -> Path:
    """The root of the repository."""
    return CHECKOUT
