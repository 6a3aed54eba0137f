"""
Free ports for several sandboxes at once, without two taking the same one.

A port is reserved by a lock on a file of its number, held as long as this process
lives, and tested by binding it. The range lies below the one from which Linux
takes the ports of outgoing connections (32768 up), which would otherwise snatch
one between our test and the child's bind.
"""

from __future__ import annotations

import fcntl
import os
import random
import socket
import tempfile
from pathlib import Path

FIRST, LAST = 20_000, 32_000


def reserve() -> int:
    """A port on 127.0.0.1 that is free now and that no other sandbox will choose."""
    folder = Path(tempfile.gettempdir()) / f"slicewise-ports-{os.getuid()}"
    folder.mkdir(exist_ok=True)
    for port in random.sample(range(FIRST, LAST), k=2_000):
        # A bare descriptor, which nothing closes, and nothing warns of, before the process ends.
        lock = os.open(folder / str(port), os.O_WRONLY | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with socket.socket() as probe:
                probe.bind(("127.0.0.1", port))
        except OSError:
            os.close(lock)
            continue
        return port
    raise OSError(f"no free port between {FIRST} and {LAST}")
