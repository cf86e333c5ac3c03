"""Where the web view listens."""

import errno
import ipaddress
import re
import socket
from dataclasses import dataclass

from edgewright.runtime.errors import SinkError, UsageError

LOOPBACK = "127.0.0.1"
_ADDRESS = re.compile(r"(\[[0-9a-fA-F:.%\w]+\]|[^\[\]:/?#@\s]*):(\d{1,5})")
# What the kernel may hold for a client that reads slowly. Linux would grow it to some MiB, which are seconds of old pictures.
_SEND_BUFFER_BYTES = 64 << 10


@dataclass(frozen=True)
class Address:
    """A host by its name or number, and a port; port 0 is one that is free."""

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"


def parse_address(text: str) -> Address:
    """`:8080`, `192.168.1.5:8080` or `[::1]:8080`; without a host it is this machine alone."""
    match = _ADDRESS.fullmatch(text)
    if match is None or int(match[2]) > 65535:
        raise UsageError(f"the web view listens on [HOST]:PORT, for example :8080 or 0.0.0.0:8080; got '{text}'")
    return Address(match[1].strip("[]") or LOOPBACK, int(match[2]))


def listen(address: Address) -> socket.socket:
    """A socket that listens there; SinkError says why that is not possible."""
    try:
        family, kind, protocol, _, where = socket.getaddrinfo(address.host, address.port, type=socket.SOCK_STREAM)[0]
    except (OSError, UnicodeError) as err:
        raise SinkError(
            f"web view: the host '{address.host}' is not known ({err}); give an address of this machine"
        ) from err
    listener = socket.socket(family, kind, protocol)
    try:
        # A run that starts again must not wait for the last one's connections to be forgotten.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        # Accepted connections inherit it.
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, _SEND_BUFFER_BYTES)
        listener.bind(where)
        listener.listen()
    except OSError as err:
        listener.close()
        raise SinkError(f"web view: cannot listen on {address}: {_reason(err)}") from err
    listener.setblocking(False)
    return listener


def is_local(listener: socket.socket) -> bool:
    """Whether only this machine reaches it."""
    return ipaddress.ip_address(str(listener.getsockname()[0]).partition("%")[0]).is_loopback


def url_of(listener: socket.socket, address: Address) -> str:
    """What to type into a browser, with the machine's own name where it listens on all of its addresses."""
    bound = ipaddress.ip_address(str(listener.getsockname()[0]).partition("%")[0])
    host = socket.gethostname() if bound.is_unspecified else address.host
    return f"http://{Address(host, listener.getsockname()[1])}/"


def _reason(err: OSError) -> str:
    if err.errno == errno.EADDRINUSE:
        return "the port is in use; choose another one, or end the program that has it"
    if err.errno == errno.EACCES:
        return "ports below 1024 need more rights; choose a higher one"
    if err.errno == errno.EADDRNOTAVAIL:
        return (
            "this machine does not have that address; say :PORT for this machine alone, 0.0.0.0:PORT for all addresses"
        )
    return err.strerror or str(err)
