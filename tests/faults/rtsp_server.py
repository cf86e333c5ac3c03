"""A real RTSP server on loopback, for the system's Python with GStreamer: `/usr/bin/python3 rtsp_server.py --help`.

It prints its port when it listens, and leaves when its standard input is closed. Unless it serves a file, it burns the time of
the machine's monotonic clock into every picture: see `stripe`, which needs nothing of GStreamer.
"""

import argparse
import os
import sys
import threading
import time
import zlib
from typing import Any

# One bit a block, from the left: 32 of the time in ms, 8 of its checksum.
BLOCKS, STRIPE_ROWS = 40, 16
BLACK, WHITE, GREY, NEUTRAL = 16, 235, 90, 128
# Magenta in BT.601: blue and red, which the network of tests/tiny.py takes for an object of its first class.
SQUARE_YUV = (106, 202, 222)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, default=0, help="0: a free one")
    parser.add_argument("--address", default="127.0.0.1")
    parser.add_argument("--file", help="an MP4 with H.264, served once to every client")
    parser.add_argument("--film", help="raw I420 pictures of --size, again and again")
    parser.add_argument("--size", default="480x640", help="HEIGHTxWIDTH")
    parser.add_argument("--other-size", help="taken in place of --size for every other --every pictures")
    parser.add_argument("--every", type=int, default=30)
    parser.add_argument("--fps", type=int, default=30)
    parser.add_argument("--codec", choices=list(CODECS), default="h264")
    parser.add_argument("--login", help="USER:PASSWORD")
    options = parser.parse_args()
    threading.Thread(target=leave_with_parent, daemon=True).start()
    serve(options)


CODECS = {
    "h264": "x264enc tune=zerolatency speed-preset=ultrafast key-int-max=15 ! rtph264pay name=pay0",
    "jpeg": "jpegenc ! rtpjpegpay name=pay0",
}


def leave_with_parent() -> None:
    sys.stdin.read()
    os._exit(0)


def serve(options: argparse.Namespace) -> None:
    import gi  # type: ignore[import-untyped, import-not-found, unused-ignore]

    for library in ("Gst", "GstRtspServer"):
        gi.require_version(library, "1.0")
    from gi.repository import GLib, Gst, GstRtspServer  # type: ignore[import-untyped, import-not-found, unused-ignore]

    Gst.init(None)
    server = GstRtspServer.RTSPServer()
    server.set_address(options.address)
    server.set_service(str(options.port))
    factory = GstRtspServer.RTSPMediaFactory()
    if options.file:
        factory.set_launch(
            f"filesrc location={options.file} ! qtdemux ! h264parse ! rtph264pay name=pay0 config-interval=-1"
        )
    else:
        factory.set_launch(f"appsrc name=camera is-live=true format=time do-timestamp=true ! {CODECS[options.codec]}")
        factory.set_shared(True)
        factory.connect("media-configure", lambda _, media: Camera(Gst, options).feed(media))
    if options.login:
        ask_for_password(Gst, GstRtspServer, server, factory, options.login)
    server.get_mount_points().add_factory("/live", factory)
    if server.attach(None) == 0:
        raise SystemExit(f"port {options.port} is taken")
    sys.stdout.write(f"{server.get_bound_port()}\n")
    sys.stdout.flush()
    GLib.MainLoop().run()


def ask_for_password(Gst: Any, GstRtspServer: Any, server: Any, factory: Any, login: str) -> None:
    user, _, password = login.partition(":")
    token = GstRtspServer.RTSPToken()
    token.set_string("media.factory.role", "viewer")
    auth = GstRtspServer.RTSPAuth()
    auth.add_basic(GstRtspServer.RTSPAuth.make_basic(user, password), token)
    server.set_auth(auth)
    permissions = GstRtspServer.RTSPPermissions()
    permissions.add_permission_for_role("viewer", "media.factory.access", True)
    permissions.add_permission_for_role("viewer", "media.factory.construct", True)
    factory.set_permissions(permissions)


class Camera:
    """Feeds one media with pictures at the rate of `options`, each stamped when it is made."""

    def __init__(self, Gst: Any, options: argparse.Namespace) -> None:
        self._gst = Gst
        self._options = options
        self._sizes = [parsed(size) for size in (options.size, options.other_size) if size]
        self._film = film_of(options.film, self._sizes[0]) if options.film else []
        self._number = 0
        self._due_s = time.monotonic()

    def feed(self, media: Any) -> None:
        source = media.get_element().get_by_name("camera")
        source.connect("need-data", self._push)

    def _push(self, source: Any, _: int) -> None:
        self._due_s = max(self._due_s + 1 / self._options.fps, time.monotonic() - 1)
        time.sleep(max(0.0, self._due_s - time.monotonic()))
        size_hw = self._sizes[self._number // self._options.every % len(self._sizes)]
        if self._number % self._options.every == 0:
            h, w = size_hw
            source.set_property(
                "caps",
                self._gst.Caps.from_string(
                    f"video/x-raw,format=I420,width={w},height={h},framerate={self._options.fps}/1"
                ),
            )
        picture = self._film[self._number % len(self._film)] if self._film else square(size_hw, self._number)
        source.emit("push-buffer", self._gst.Buffer.new_wrapped(stamped(picture, size_hw, time.monotonic())))
        self._number += 1


def parsed(size: str) -> tuple[int, int]:
    h, _, w = size.partition("x")
    return int(h), int(w)


def film_of(path: str, size_hw: tuple[int, int]) -> list[bytes]:
    length = size_hw[0] * size_hw[1] * 3 // 2
    with open(path, "rb") as file:
        return list(iter(lambda: file.read(length), b""))


def square(size_hw: tuple[int, int], number: int) -> bytes:
    """I420: a magenta square, a quarter of the height, that moves to the right over grey."""
    h, w = size_hw
    side = h // 4 // 2 * 2
    top, left = (h - side) // 4 * 2, number * 4 % (w - side) // 2 * 2
    planes = []
    for level, ground, scale in zip(SQUARE_YUV, (GREY, NEUTRAL, NEUTRAL), (1, 2, 2), strict=True):
        row = bytes([ground]) * (w // scale)
        crossed = bytearray(row)
        crossed[left // scale : (left + side) // scale] = bytes([level]) * (side // scale)
        above, inside = top // scale, side // scale
        planes.append(row * above + bytes(crossed) * inside + row * (h // scale - above - inside))
    return b"".join(planes)


def stamped(picture: bytes, size_hw: tuple[int, int], time_s: float) -> bytes:
    """The I420 picture with the time in its uppermost rows."""
    h, w = size_hw
    chroma, quarter = STRIPE_ROWS // 2 * (w // 2), h * w // 4
    pale = bytes([NEUTRAL]) * chroma
    u, v = h * w, h * w + quarter
    return b"".join(
        (stripe(w, time_s), picture[STRIPE_ROWS * w : u], pale, picture[u + chroma : v], pale, picture[v + chroma :])
    )


def stripe(width: int, time_s: float) -> bytes:
    """STRIPE_ROWS rows of grey levels."""
    milliseconds = int(time_s * 1000) % 2**32
    content = milliseconds.to_bytes(4, "big")
    bits = (milliseconds << 8) | (zlib.crc32(content) & 0xFF)
    block = width // BLOCKS
    row = b"".join(bytes([WHITE if bits >> (BLOCKS - 1 - n) & 1 else BLACK]) * block for n in range(BLOCKS))
    return row.ljust(width, bytes([BLACK])) * STRIPE_ROWS


if __name__ == "__main__":
    main()
