"""A camera by its Video4Linux device, as `camera`: `v4l2:/dev/video0?format=mjpg&size=720x1280&fps=30`."""

from edgewright.runtime.sources.camera import CameraSource, from_uri

__all__ = ["CameraSource", "from_uri"]
