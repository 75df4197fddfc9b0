"""What a program needs to walk on a server: `Client`, and `RemoteSession`, which makes an Explorer of a walk."""

from .client import Client
from .remote_session import RemoteSession

__all__ = ["Client", "RemoteSession"]
