"""Reads the levels of Doom's WAD files, and writes a level back with open doors and nothing in it moving.

Only the classic format is read (Doom, Doom 2, Freedoom and most levels made for them). Knows nothing of pictures.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np

from ...world.files import read_bytes, whole
from ..scene import SceneError
from .things import MONSTERS, PLAYER

LUMPS = ("THINGS", "LINEDEFS", "SIDEDEFS", "VERTEXES", "SEGS", "SSECTORS", "NODES", "SECTORS", "REJECT", "BLOCKMAP")
NONE = 0xFFFF  # a side that a line does not have
SKY = "F_SKY1"
_MOST_BYTES = 1 << 30  # of a file; the largest that people have made are smaller
_KINDS = {
    "THINGS": [("x", "<i2"), ("y", "<i2"), ("angle", "<i2"), ("type", "<i2"), ("flags", "<i2")],
    "LINEDEFS": [
        ("start", "<u2"),
        ("end", "<u2"),
        ("flags", "<u2"),
        ("special", "<u2"),
        ("tag", "<u2"),
        ("front", "<u2"),
        ("back", "<u2"),
    ],
    "SIDEDEFS": [("x", "<i2"), ("y", "<i2"), ("upper", "S8"), ("lower", "S8"), ("middle", "S8"), ("sector", "<u2")],
    "VERTEXES": [("x", "<i2"), ("y", "<i2")],
    "SECTORS": [
        ("floor", "<i2"),
        ("ceiling", "<i2"),
        ("floor_flat", "S8"),
        ("ceiling_flat", "S8"),
        ("light", "<i2"),
        ("special", "<u2"),
        ("tag", "<u2"),
    ],
}
# a line's special: those that open the sector behind the line, and those that open the sectors with the line's tag
_DOORS_BEHIND = {1, 26, 27, 28, 31, 32, 33, 34, 117, 118}
_DOORS_TAGGED = {2, 4, 29, 46, 61, 63, 86, 90, 99, 103, 105, 106, 108, 109, 111, 112, 114, 115, *range(133, 138)}
_GENERAL_DOORS = range(0x3800, 0x4000)  # Boom's: the last bits say how it is triggered, 6 and 7 from the line itself
_AT_MEDIUM, _IN_COMPANY = 2, 16  # flags of things: present at the usual skill, present for several players only
_LEDGE = 4  # units between an open door and the ceiling


@dataclass(frozen=True)
class Wad:
    """A file's kind, "IWAD" for a whole game or "PWAD" for what is added to one, its lumps in order, and its bytes."""

    path: Path
    kind: str
    lumps: tuple[tuple[str, int, int], ...]  # name, offset, size
    data: bytes

    @property
    def maps(self) -> list[str]:
        """The names of the levels in it."""
        names = [name for name, _, _ in self.lumps]
        return [name for name, after in pairwise(names) if after in ("THINGS", "TEXTMAP")]


@dataclass(frozen=True)
class Map:
    """A level as its lumps tell it, in Doom's units: structured arrays with the fields of _KINDS."""

    name: str
    things: np.ndarray
    lines: np.ndarray
    sides: np.ndarray
    vertices: np.ndarray
    sectors: np.ndarray
    others: dict[str, bytes]


def read_wad(path: str | Path) -> Wad:
    """The directory of a WAD file. Raises SceneError for a file that is none, or is torn."""
    path = Path(path)
    try:
        data = read_bytes(path, most=_MOST_BYTES)
    except OSError as error:
        raise SceneError(f"cannot read {path}: {error.strerror}") from error
    kind = data[:4]
    if kind not in (b"IWAD", b"PWAD") or len(data) < 12:
        raise SceneError(f"{path} is no WAD: it begins with {kind!r}, wanted b'IWAD' or b'PWAD'")
    count, offset = struct.unpack_from("<ii", data, 4)
    if count < 0 or offset < 12 or offset + 16 * count > len(data):
        raise SceneError(f"{path} is torn: its directory should end at byte {offset + 16 * count} of {len(data)}")
    lumps = []
    for number in range(count):
        start, size, name = struct.unpack_from("<ii8s", data, offset + 16 * number)
        if size and (size < 0 or start < 0 or start + size > len(data)):
            raise SceneError(f"{path} is torn: {_text(name)} should end at byte {start + size} of {len(data)}")
        lumps.append((_text(name), start, size))
    return Wad(path, kind.decode(), tuple(lumps), data)


def read_map(wad: Wad, name: str) -> Map:
    """A level of a WAD. Raises SceneError for one that is not there, in another format, or torn."""
    name = name.upper()
    if name not in wad.maps:
        held = ", ".join(wad.maps[:12]) + (", ..." if len(wad.maps) > 12 else "")
        raise SceneError(f"no map {name} in {wad.path.name}; it has {held or 'no maps at all'}")
    at = next(
        i
        for i, lump in enumerate(wad.lumps)
        if lump[0] == name and i + 1 < len(wad.lumps) and wad.lumps[i + 1][0] in ("THINGS", "TEXTMAP")
    )
    parts = {lump: wad.data[start : start + size] for lump, start, size in wad.lumps[at + 1 : at + 1 + len(LUMPS)]}
    after = wad.lumps[at + 1 + len(LUMPS)][0] if at + 1 + len(LUMPS) < len(wad.lumps) else ""
    if "TEXTMAP" in parts or after == "BEHAVIOR":
        raise SceneError(f"map {name} of {wad.path.name} is in ZDoom's or Hexen's format; wanted Doom's own")
    arrays = {}
    for lump, kind in _KINDS.items():
        size = np.dtype(kind).itemsize
        if not parts.get(lump) or len(parts[lump]) % size:
            raise SceneError(
                f"map {name} of {wad.path.name} is torn: {len(parts.get(lump, b''))} bytes of {lump}, "
                f"wanted a multiple of {size}"
            )
        arrays[lump] = np.frombuffer(parts[lump], np.dtype(kind))
    others = {lump: parts.get(lump, b"") for lump in LUMPS if lump not in _KINDS}
    made = Map(
        name, arrays["THINGS"], arrays["LINEDEFS"], arrays["SIDEDEFS"], arrays["VERTEXES"], arrays["SECTORS"], others
    )
    _check(made, wad)
    return made


def stilled(level: Map) -> Map:
    """The level as a place to look at: its doors are open, nothing in it acts, and it has no monsters."""
    sectors, lines = level.sectors.copy(), level.lines.copy()
    for door in doors(level):
        ceiling = level.sectors["ceiling"]
        beside = [ceiling[s] for s in _neighbours(level, door)]
        if beside:
            sectors["ceiling"][door] = max(ceiling[door], min(beside) - _LEDGE)
    sectors["special"], lines["special"], lines["tag"] = 0, 0, 0
    things = level.things[~np.isin(level.things["type"], MONSTERS)]
    is_there = (things["flags"] & _AT_MEDIUM > 0) & (things["flags"] & _IN_COMPANY == 0)
    return replace(level, sectors=sectors, lines=lines, things=things[is_there | (things["type"] == PLAYER)])


def doors(level: Map) -> list[int]:
    """The sectors that are doors, by the lines that open them."""
    found = set()
    for line in level.lines:
        special, back = int(line["special"]), int(line["back"])
        is_general = special in _GENERAL_DOORS
        if (special in _DOORS_BEHIND or (is_general and special & 7 >= 6)) and back != NONE:
            found.add(int(level.sides["sector"][back]))
        elif (special in _DOORS_TAGGED or is_general) and line["tag"]:
            tagged = level.sectors["tag"] == line["tag"]
            found |= set(np.flatnonzero(tagged).tolist())
    return sorted(found)


def write_wad(level: Map, path: str | Path) -> None:
    """Write a level as a PWAD of its own, which an engine adds to the game that it belongs to."""
    arrays = {
        "THINGS": level.things,
        "LINEDEFS": level.lines,
        "SIDEDEFS": level.sides,
        "VERTEXES": level.vertices,
        "SECTORS": level.sectors,
    }
    parts = [(level.name, b"")]
    parts += [(lump, arrays[lump].tobytes() if lump in arrays else level.others[lump]) for lump in LUMPS]
    body, directory, offset = b"", b"", 12
    for name, data in parts:
        directory += struct.pack("<ii8s", offset, len(data), name.encode())
        body += data
        offset += len(data)
    with whole(path) as partial:
        partial.write_bytes(struct.pack("<4sii", b"PWAD", len(parts), offset) + body + directory)


def texts(names: np.ndarray) -> list[str]:
    """Names of eight bytes as text."""
    return [_text(name) for name in names.tolist()]


def _neighbours(level: Map, sector: int) -> set[int]:
    """The sectors on the other sides of a sector's lines."""
    is_two_sided = (level.lines["front"] != NONE) & (level.lines["back"] != NONE)
    sectors, lines = level.sides["sector"], level.lines[is_two_sided]
    pairs = [sectors[lines[side]] for side in ("front", "back")]
    return {int(b) for a, b in (*zip(*pairs, strict=True), *zip(*pairs[::-1], strict=True)) if a == sector != b}


def _check(level: Map, wad: Wad) -> None:
    """Raise SceneError where a line, side or sector names what is not there."""
    lines, back = level.lines, level.lines["back"]
    told: list[tuple[str, np.ndarray, np.ndarray]] = [
        ("vertex", lines["start"], level.vertices),
        ("vertex", lines["end"], level.vertices),
        ("side", lines["front"], level.sides),
        ("side", back[back != NONE], level.sides),
        ("sector", level.sides["sector"], level.sectors),
    ]
    for what, numbers, held in told:
        if len(numbers) and numbers.max() >= len(held):
            raise SceneError(
                f"map {level.name} of {wad.path.name} is torn: it names {what} {numbers.max()} of {len(held)}"
            )


def _text(name: bytes) -> str:
    return name.split(b"\0")[0].decode("latin-1").upper()
