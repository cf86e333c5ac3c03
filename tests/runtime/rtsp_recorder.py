"""An RTSP server that takes a stream and keeps its pictures; started by the system's Python, which has PyGObject.

Arguments: the port, and the folder for the pictures.
"""

import sys
from importlib import import_module
from typing import Any


def main(port: str, folder: str) -> None:
    """Serve until somebody ends the process."""
    gi: Any = import_module("gi")
    for library in ("Gst", "GstRtspServer"):
        gi.require_version(library, "1.0")
    glib, gst, rtsp = (import_module(f"gi.repository.{name}") for name in ("GLib", "Gst", "GstRtspServer"))
    gst.init(None)
    server = rtsp.RTSPServer()
    server.set_address("127.0.0.1")
    server.set_service(port)
    factory = rtsp.RTSPMediaFactory()
    factory.set_transport_mode(rtsp.RTSPTransportMode.RECORD)
    factory.set_latency(0)
    factory.set_launch(
        "( rtph264depay name=depay0 ! avdec_h264 ! videoconvert ! jpegenc ! "
        f"multifilesink location={folder}/%d.jpg max-files=20 )"
    )
    server.get_mount_points().add_factory("/live", factory)
    server.attach(None)
    glib.MainLoop().run()


if __name__ == "__main__":
    main(*sys.argv[1:])
