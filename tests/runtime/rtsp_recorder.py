"""An RTSP server that takes a stream and keeps its pictures; started by the system's Python, which has PyGObject.

Arguments: the port, and the folder for the pictures.
"""

import sys

import gi

for library, version in (("Gst", "1.0"), ("GstRtspServer", "1.0")):
    gi.require_version(library, version)
from gi.repository import GLib, Gst, GstRtspServer  # noqa: E402

Gst.init(None)
server = GstRtspServer.RTSPServer()
server.set_address("127.0.0.1")
server.set_service(sys.argv[1])
factory = GstRtspServer.RTSPMediaFactory()
factory.set_transport_mode(GstRtspServer.RTSPTransportMode.RECORD)
factory.set_latency(0)
factory.set_launch(
    "( rtph264depay name=depay0 ! avdec_h264 ! videoconvert ! jpegenc ! "
    f"multifilesink location={sys.argv[2]}/%d.jpg max-files=20 )"
)
server.get_mount_points().add_factory("/live", factory)
server.attach(None)
GLib.MainLoop().run()
