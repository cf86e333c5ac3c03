"""What several tests of the runtime need."""

import importlib.util
import shutil
import sys
from pathlib import Path

import pytest

SYSTEM_PACKAGES = Path("/usr/lib/python3/dist-packages")


@pytest.fixture(name="gi")
def gi_fixture(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """PyGObject; that of the system, when it was made for this Python, without anything else that is installed there."""
    if importlib.util.find_spec("gi") is None:
        built = f"_gi.cpython-{sys.version_info[0]}{sys.version_info[1]}-*.so"
        if not list((SYSTEM_PACKAGES / "gi").glob(built)):
            pytest.skip("PyGObject for this Python is not installed")
        (tmp_path / "packages").mkdir()
        (tmp_path / "packages" / "gi").symlink_to(SYSTEM_PACKAGES / "gi")
        monkeypatch.syspath_prepend(str(tmp_path / "packages"))
    if shutil.which("gst-launch-1.0") is None:
        pytest.skip("GStreamer is not installed")
