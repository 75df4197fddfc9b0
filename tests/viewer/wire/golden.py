"""The generated parts of docs/protocol.md: the table of fields and the golden bytes. Run it to write them again.

python -m tests.viewer.wire.golden        (from the root of the checkout)
"""

from __future__ import annotations

import re
from dataclasses import MISSING, fields
from pathlib import Path

from roam.viewer.wire import protocol as p

from .examples import EXAMPLES

PAGE = Path(__file__).parents[3] / "docs" / "protocol.md"


def golden_bytes() -> dict[str, str]:
    """The header of every example in hexadecimal, by message type."""
    return {example.TYPE: bytes(p.pack(example)[0]).hex() for example in EXAMPLES}


def written_bytes() -> dict[str, str]:
    """The headers that the page has."""
    section = PAGE.read_text().split("<!-- golden -->")[1]
    return dict(re.findall(r"^(\w+)\n((?:[0-9a-f]+\n)+)", section, re.MULTILINE))


def page() -> str:
    """The page with its generated parts written again."""
    text = PAGE.read_text()
    text = _filled(text, "fields", "\n\n".join(map(_table, p.MESSAGES.values())))
    blocks = [f"{name}\n" + "\n".join(_wrapped(code)) for name, code in golden_bytes().items()]
    return _filled(text, "golden", "```\n" + "\n\n".join(blocks) + "\n```")


def _table(kind: type[p.Message]) -> str:
    senders = (kind.TYPE in p.CLIENT_MESSAGES, kind.TYPE in p.SERVER_MESSAGES)
    side = {(True, True): "both ways", (True, False): "client to server", (False, True): "server to client"}[senders]
    rows = [f"**{kind.TYPE}** ({side})\n\n| field | type | range | default |\n|---|---|---|---|"]
    for f in fields(kind):
        default = (
            "" if f.default is MISSING else f"`{list(f.default) if isinstance(f.default, tuple) else f.default!r}`"
        )
        rows.append(f"| {f.name} | {f.type} | {f.metadata['range'].replace('|', ' ')} | {default} |")
    return re.sub(r"tuple\[(\w+), \.\.\.\]", r"list of \1", "\n".join(rows))


def _wrapped(code: str, width: int = 112) -> list[str]:
    return [code[i : i + width] for i in range(0, len(code), width)]


def _filled(text: str, name: str, body: str) -> str:
    before, rest = text.split(f"<!-- {name} -->")
    return f"{before}<!-- {name} -->\n{body}\n<!-- /{name} -->" + rest.split(f"<!-- /{name} -->")[1]


if __name__ == "__main__":
    PAGE.write_text(page())
