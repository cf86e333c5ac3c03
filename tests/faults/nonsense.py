"""A program at a port that answers everybody with random bytes."""

import socket
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress

import numpy as np


@contextmanager
def talking_nonsense(port: int = 0) -> Iterator[int]:
    """Its port, while entered."""
    over, noise = threading.Event(), np.random.default_rng(0).bytes(4096)
    with socket.create_server(("127.0.0.1", port)) as listener:
        listener.settimeout(0.1)

        def answer() -> None:
            while not over.is_set():
                # Nobody came, or went away again.
                with suppress(TimeoutError, ConnectionError), listener.accept()[0] as client:
                    client.sendall(noise)

        thread = threading.Thread(target=answer)
        thread.start()
        try:
            yield listener.getsockname()[1]
        finally:
            over.set()
            thread.join()
