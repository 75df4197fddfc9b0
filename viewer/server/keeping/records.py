"""The text files of a walk's folder: meta.json and the lines of its logs, each with a checksum that detects flipped
bits. Knows no folder and no snapshot."""

from __future__ import annotations

import json
import zlib
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from ....world.action import Action
from ....world.records import known_pose_of, motion_of, motion_row, pose_row

FORMAT = 1
MAX_ACTS = 1024  # newest acts of a walk that are remembered, of those applied and of those refused: more than may wait
MAX_REASON = 120  # characters of a refusal
DAMAGED = (ValueError, TypeError, AttributeError, RecursionError)  # what reading may raise after a disk error


@dataclass(frozen=True)
class Meta:
    """What meta.json says of a walk. Acts are known by their seq; a once is a typed act (command_queue.py)."""

    session: str
    secret: str  # SHA-256 of the walk's token
    last: int = 0  # the highest seq of a once that was applied
    snapshot: int = 0  # number of the valid snapshot
    format: int = FORMAT
    is_alone: bool = False  # it shares no engine with other walks
    guest: str = ""  # who began it, for quotas (registry.py)
    chain: tuple[int, ...] = ()  # numbers of the whole snapshot and the changes after it; empty: it is a whole one
    older: int = 0  # number of the previous whole snapshot, in case the disk damages this one; 0: none
    applied: tuple[int, ...] = ()  # seqs of the newest acts that were applied
    refused: tuple[tuple[int, str], ...] = ()  # of the newest that were refused, with the reasons
    part: tuple[int, int] = (0, 0)  # seq of an act that is partly done, and how many of its steps are done

    def after(self, done: Done) -> Meta:
        """The Meta after one more line of the log."""
        if done.part[0]:
            return replace(self, part=done.part)
        part = (0, 0) if done.seq == self.part[0] else self.part
        if done.refused:
            refused = dict([*self.refused, (done.seq, done.refused[:MAX_REASON])])
            return replace(self, refused=tuple(refused.items())[-MAX_ACTS:], part=part)
        if not done.seq or done.seq in self.applied:
            return self
        last, applied = max(self.last, done.seq), (*self.applied, done.seq)[-MAX_ACTS:]
        return replace(self, last=last, applied=applied, part=part)

    @property
    def files(self) -> tuple[int, ...]:
        return self.chain or (self.snapshot,)


@dataclass(frozen=True)
class Done:
    """A line of a log: an action done for that seq; or steps rewound; or the reason why the act of that seq was
    refused. part: if the action is one of several steps and not the last, its act's seq and which of the steps it
    is."""

    action: Action | None
    seq: int = 0
    rewound: int = 0
    part: tuple[int, int] = (0, 0)
    refused: str = ""


def meta_bytes(meta: Meta) -> bytes:
    """The bytes of meta.json, with a checksum that detects flipped bits."""
    told = asdict(meta)
    return json.dumps(told | {"sum": zlib.crc32(json.dumps(told).encode())}).encode()


def read_meta(path: Path) -> Meta:
    """The Meta in a file. Raises ValueError or TypeError if there is none, or if its checksum is wrong."""
    told = json.loads(path.read_bytes())
    said = told.pop("sum", None)
    if said not in (None, zlib.crc32(json.dumps(told).encode())):  # files of the first servers have none
        raise ValueError("its sum is another")
    refused = tuple((int(seq), str(reason)) for seq, reason in told.get("refused", ()))
    lists = {name: tuple(told[name]) for name in ("chain", "applied", "part") if name in told}
    return Meta(**told | lists | {"refused": refused})


def line_of(done: Done) -> bytes:
    """A line of a log, with a checksum that detects flipped bits."""
    m = done.action.motion if done.action else None
    motion = motion_row(m) if m else None
    row: list = [done.seq, done.action.text, motion] if done.action else [done.seq, "", None, done.rewound]
    more: dict[str, Any] = {"part": done.part} if done.part[0] else {"refused": done.refused} if done.refused else {}
    more |= {"at": pose_row(done.action.at)} if done.action and done.action.at else {}
    data = json.dumps([*row, more] if more else row).encode()
    return b"%s\t%08x\n" % (data, zlib.crc32(data))


def read_log(path: Path) -> tuple[list[Done], bool]:
    """The acts of a log up to where it is damaged, if it is; and whether it is whole."""
    done: list[Done] = []
    for line in path.read_bytes().split(b"\n")[:-1]:  # an act cut short by a power failure has no line end
        data, _, said = line.partition(b"\t")
        if said and said != b"%08x" % zlib.crc32(data):  # lines of the first servers have no checksum
            return done, False
        try:
            done.append(_done(*json.loads(data)))
        except (ValueError, TypeError):
            return done, False
    return done, True


def _done(seq: int, text: str, motion: list | None, *rest: Any) -> Done:
    """The content of a line of a log."""
    more = rest[-1] if rest and isinstance(rest[-1], dict) else {}
    if rest and rest[0] is not more:
        return Done(None, seq, rest[0], refused=more.get("refused", ""))
    at = known_pose_of(more["at"]) if "at" in more else None
    return Done(Action(text, motion_of(motion) if motion else None, at), seq, part=tuple(more.get("part", (0, 0))))
