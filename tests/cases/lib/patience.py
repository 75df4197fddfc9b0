"""Waits for servers that a script has started, where the script itself waits a fixed time."""

import socket
import time


def answered(port: int, *args: str, within_s: float = 600.0) -> None:
    """Return when that port of this machine accepts connections, and the page's port too if it is among the
    arguments."""
    ports, end = [port, *(int(args[at + 1]) for at, name in enumerate(args) if name == "--page-port")], time.monotonic()
    for port in ports:
        while time.monotonic() < end + within_s:
            try:
                socket.create_connection(("127.0.0.1", port), timeout=5).close()
                break
            except OSError:
                time.sleep(0.1)
