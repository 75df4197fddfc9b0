"""Reads a message's header, a msgpack map, within limits that are checked before anything is unpacked. Knows no
message."""

from __future__ import annotations

from collections.abc import Sequence

import msgpack

from .message import MAX_HEADER, ProtocolError


def read_header(part) -> dict:
    """The map in a header, which has a "type". Raises ProtocolError."""
    if len(part) > MAX_HEADER:
        raise ProtocolError("too_large", f"a header of {len(part)} bytes; wanted at most {MAX_HEADER}")
    try:
        header = msgpack.unpackb(
            part,
            raw=False,
            use_list=False,
            strict_map_key=True,
            object_pairs_hook=_map_of,
            max_str_len=8192,
            max_bin_len=0,
            max_array_len=512,
            max_map_len=128,
            max_ext_len=0,
        )
    except (msgpack.UnpackException, ValueError) as error:
        raise ProtocolError("malformed", f"the header is no msgpack within limits ({str(error)[:200]})") from error
    if not isinstance(header, dict) or not isinstance(header.get("type"), str):
        raise ProtocolError("malformed", "the header is no map with a 'type'; see docs/protocol.md")
    return header


def _map_of(pairs: Sequence[tuple[str, object]]) -> dict[str, object]:
    """A map of these pairs. Raises ValueError for a key that comes twice: programs differ in which of two they take."""
    made = dict(pairs)
    if len(made) < len(pairs):
        raise ValueError("a key comes twice")
    return made
