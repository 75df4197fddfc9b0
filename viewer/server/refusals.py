"""What a client is told when its message was not carried out: a code, a sentence, and which request it was."""

from __future__ import annotations

import errno
import logging
import re
from pathlib import Path
from typing import Any

from ...world.action import ActionError
from ..wire import protocol as p
from .command_queue import QueueFullError
from .store import FullError, StoreError

log = logging.getLogger(__name__)

_PATH = re.compile(r"(?<![\w/.:])(?:/[\w.+-]+){2,}")
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, errno.EMFILE, errno.ENFILE, errno.EACCES)


def code_of(error: Exception) -> str:
    """The protocol's code for an error. Errors that are the server's own fault are logged too."""
    codes = {
        QueueFullError: "queue_full",
        ActionError: "bad_action",
        StoreError: "not_found",
        FullError: "limit",
        ValueError: "bad_request",
    }
    if isinstance(error, p.ProtocolError):
        return error.code
    if isinstance(error, OSError) and error.errno in NO_ROOM:
        log.error("the disk: %s", error)
        return "storage"
    for kind, code in codes.items():
        if isinstance(error, kind):
            return code
    log.error("a request failed", exc_info=error)
    return "internal"


def seq_of(message: p.Message | None, error: Exception) -> int:
    """The seq of a request or act, for the answer to it; 0 if it has none."""
    if isinstance(message, p.Request | p.Act | p.Dream):
        return message.seq
    return error.seq if isinstance(error, p.ProtocolError) else 0


def session_of(message: p.Message | None) -> str:
    """The walk that a message is about; "" if there is none."""
    has_session = p.Act | p.Dream | p.Credit | p.Look | p.Surfaces | p.Fork | p.Rewind | p.Save | p.Close | p.Watch
    return message.session if isinstance(message, has_session) else ""


def reason_of(error: Exception) -> str:
    """The sentence for the client. It contains no paths of the server, and nothing that is meant for its log."""
    if isinstance(error, OSError):
        return f"the server's disk: {error.strerror or type(error).__name__}"
    if isinstance(error, ValueError):
        return _PATH.sub(lambda found: Path(found.group()).name, str(error))[:600]
    return f"the world failed ({type(error).__name__}); the server's log says how"


def log_failure(value: Any) -> None:
    if isinstance(value, Exception):
        log.error("a walk could not be put away", exc_info=value)
