"""`roam export`: what a saved walk remembers, as a file that other programs can open."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ...world.options import OfficialOptions
from ...world.sight import LookError, Looking, Outlook, Piece
from ..files.models import glb_of, ply_of
from ..files.outputs import OutputError, unused, write_together, write_whole
from ..files.panorama import panorama
from ..files.pictures import png_of
from ..opening.start import Opener, Start
from ..play.progress import waiting

KINDS = (".glb", ".ply", ".png")


@dataclass(frozen=True)
class ExportOrder:
    """What to export: a save, to a file whose suffix decides the format. height: of a panorama, in pixels."""

    walk: Path
    to: Path
    model: Path | None = None
    is_points: bool = False
    stride: int = 1
    height: int = 1024
    overwrite: bool = False
    official: OfficialOptions | None = None


def export(order: ExportOrder) -> list[Path]:
    """Write the files, print what is in them, and return their paths."""
    kind = order.to.suffix.lower()
    if kind not in KINDS:
        raise OutputError(f"'{order.to.name}' ends in '{kind}'; wanted one of: {', '.join(KINDS)}")
    for path in (order.to, _beside(order.to)) if kind == ".png" else (order.to,):
        unused(path, overwrite=order.overwrite)
    with waiting("opening the walk"):
        explorer = Opener(order.model, official=order.official).open(Start(load=str(order.walk))).explorer
    try:
        if not isinstance(explorer, Looking):
            raise LookError("this world is seen from where its walker stands and from nowhere else: it has no surfaces")
        with waiting("drawing what it remembers"):
            return (
                _panorama(explorer.outlook(), order) if kind == ".png" else [_surfaces(explorer.outlook(), order, kind)]
            )
    finally:
        explorer.close()


def _surfaces(outlook: Outlook, order: ExportOrder, kind: str) -> Path:
    pieces = [outlook.piece(number, stride=order.stride) for number in outlook.pieces()]
    if order.is_points:
        pieces = [Piece(piece.number, piece.points, piece.colours, piece.triangles[:0]) for piece in pieces]
    if not sum(len(piece.points) for piece in pieces):
        raise OutputError("this walk remembers no surface: there is nothing to write")
    data = glb_of(pieces) if kind == ".glb" else ply_of(pieces)
    points, triangles = (sum(len(getattr(piece, name)) for piece in pieces) for name in ("points", "triangles"))
    path = write_whole(order.to, data)
    print(f"{path}: {points} points, {triangles} triangles of {len(pieces)} views, {len(data) / 1e6:.1f} MB")
    return path


def _panorama(outlook: Outlook, order: ExportOrder) -> list[Path]:
    """The picture, and next to it the distances as a picture of 16-bit millimetres, 0 where nothing is known."""
    beside = _beside(order.to)
    seen = panorama(outlook, outlook.pose, height=order.height)
    paths = write_together({order.to: png_of(seen.pixels), beside: png_of(seen.millimetres)})
    share = 100 * seen.unknown.mean()
    print(f"{paths[0]}: {order.height * 2}x{order.height}, {share:.0f} % of it unknown and filled in")
    print(f"{paths[1]}: millimetres from the eye, 0 for unknown")
    return paths


def _beside(picture: Path) -> Path:
    """The picture of distances next to a panorama."""
    return picture.with_name(f"{picture.stem}-distance.png")
