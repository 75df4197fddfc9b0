"""A session's complete state in one file, or in files of changes after it. A loaded session continues exactly as the
saved one would have.

Keys and values are stored, because a page's depend on pages that were dropped long ago. Depth is stored (in float16,
which is all that frames hold), because a surface keeps that of the view that showed it first. Random state is a seed
and a frame number. Nothing in the file is executed.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from ..action import Action
from ..files import readable, whole
from ..frame import Frame
from ..pose import Camera, Pose
from ..records import action_of, action_row, pose_of, pose_row
from ..session import Keyframe, Moment, Session, SessionEngine, view_index
from ..spatial.view_memory import VIEW_LIMIT, Memo, ViewMemory
from ..spatial.warp import DREAMT, DREAMT_ANEW, SEEN, View
from . import forms
from .changes import Laid, changes_since, digest_of
from .forms import first_memos, packed, unpacked

FORMAT = "3"
log = logging.getLogger(__name__)

ORIGINS = (SEEN, DREAMT, DREAMT_ANEW)  # what a file may say of a view


class SnapshotError(ValueError):
    """A saved session that cannot be used; the message says what came and what was wanted."""


def save_session(session: Session, path: str | Path) -> None:
    """Write `session` to `path`, completely or not at all."""
    session.settle()
    moments = session.moments
    keyframes = {keyframe.page: keyframe for moment in moments for keyframe in moment.keyframes}
    views = first_memos([moment.memory for moment in moments])
    changed, tensors = _forms(session.engine, moments, views)
    place = {page: k for k, page in enumerate(keyframes)}
    meta = _told(session, moments) | {
        forms.CHANGED: json.dumps(changed),
        "roam": "session",
        "format": FORMAT,
        "actions": json.dumps([action_row(action) for action in session.actions]),
        "keyframes": json.dumps([[place[page] for page in moment.held] for moment in moments]),
    }
    write_whole(tensors | _tensors(session.engine, moments, list(keyframes.values()), views), path, meta)


def save_changes(session: Session, path: str | Path, before: Session) -> bool:
    """Write what has changed since `before`, a fork of the session that was saved. Returns False, and writes
    nothing, if the two have no moment in common any more."""
    session.settle()
    changes = changes_since(session, before)
    if changes is None:
        return False
    base, count = changes.base, len(session.actions) - len(changes.moments)
    changed, tensors = _forms(session.engine, changes.moments, changes.views, base.memory)
    meta = _told(session, changes.moments) | {
        forms.CHANGED: json.dumps(changed),
        "roam": "session changes",
        "format": FORMAT,
        "first": str(session.moments[0].frame.index),
        "kept": str(base.frame.index),
        "kept_digest": digest_of(base.frame.pixels),
        "kept_actions": str(count),
        "actions": json.dumps([action_row(action) for action in session.actions[count:]]),
        "keyframes": json.dumps([[keyframe.number for keyframe in moment.keyframes] for moment in changes.moments]),
    }
    write_whole(tensors | _tensors(session.engine, changes.moments, changes.keyframes, changes.views), path, meta)
    return True


def _forms(
    engine: SessionEngine, moments: Sequence[Moment], new: dict[int, Memo], before: ViewMemory | None = None
) -> tuple[list[list[int]], dict[str, torch.Tensor]]:
    """What newer dreams did to the views at some moments, in the form of a file; as `forms.forms_of`."""
    found, changed = forms.forms_of([moment.memory for moment in moments], new, before)
    return changed, forms.as_tensors(found, forms.stands_of(new.values()), _packed_size(engine))


def _tensors(
    engine: SessionEngine, moments: Sequence[Moment], keyframes: Sequence[Keyframe], memos: dict[int, Memo]
) -> dict[str, torch.Tensor]:
    """The frames of these moments, these keyframes with their pages, and these views, in the form of a file."""
    cache, size = engine.cache, engine.frame_side
    pages = torch.tensor([keyframe.page for keyframe in keyframes], dtype=torch.int64)
    views = {index: memo.view for index, memo in memos.items()}
    frames = {view_index(moment.frame.index): moment.frame for moment in moments}
    pictures, nothing = views | frames, np.zeros(engine.layout.grid, np.int32)
    tensors = {
        "k": cache.k[:, pages].cpu(),
        "v": cache.v[:, pages].cpu(),
        "lengths": cache.lengths[pages].cpu(),
        "numbers": torch.tensor([keyframe.number for keyframe in keyframes], dtype=torch.int64),
        "grids": _stacked([keyframe.tokens for keyframe in keyframes], nothing),
        "moments": torch.tensor([moment.frame.index for moment in moments], dtype=torch.int64),
        "has_tokens": torch.tensor([frame.tokens is not None for frame in frames.values()], dtype=torch.bool),
        "tokens": _stacked([nothing if frame.tokens is None else frame.tokens for frame in frames.values()], nothing),
        "index": torch.tensor(list(pictures), dtype=torch.int64),
        "pixels": _stacked([picture.pixels for picture in pictures.values()], np.zeros((size, size, 3), np.uint8)),
        "depth": _stacked(
            [_depth_of(picture).astype(np.float16) for picture in pictures.values()], np.zeros((size, size), np.float16)
        ),
        "pose": torch.tensor([pose_row(picture.pose) for picture in pictures.values()], dtype=torch.float64).view(
            -1, 7
        ),
        "views": torch.tensor(list(views), dtype=torch.int64),
        "origins": torch.tensor([view.origin for view in views.values()], dtype=torch.uint8),
        "whole": torch.tensor([view.fresh is None for view in views.values()], dtype=torch.bool),
        "fresh": _stacked([packed(view) for view in views.values()], np.zeros(_packed_size(engine), np.uint8)),
    }
    return {name: tensor.contiguous() for name, tensor in tensors.items()}


def _packed_size(engine: SessionEngine) -> int:
    """Bytes of a mask of a frame's size, eight pixels a byte."""
    return -(-(engine.frame_side**2) // 8)


def _stacked(arrays: list[np.ndarray], like: np.ndarray) -> torch.Tensor:
    """Arrays of one shape, stacked along a new axis; for no arrays an axis of length 0."""
    return torch.from_numpy(np.stack(arrays) if arrays else np.zeros((0, *like.shape), like.dtype))


def _told(session: Session, moments: Sequence[Moment]) -> dict[str, str]:
    """The description that files of both kinds hold of a session."""
    return {
        "weights": session.engine.checkpoint.digest,
        "seed": str(session.seed),
        "start": session.start,
        "decoder": session.decoder,
        "dida": json.dumps(vars(session.engine.dida)),
        "solid": json.dumps(session.is_solid),
        "memories": json.dumps([moment.memory.indices for moment in moments]),
    }


def write_whole(tensors: dict[str, torch.Tensor], path: str | Path, meta: dict[str, str]) -> None:
    """Write one safetensors file; the previous file stays until the new one is complete. Raises OSError for a full
    or read-only disk, and leaves nothing behind."""
    try:
        with whole(path) as partial:
            save_file(tensors, partial, metadata=meta | {"sum": _sum(tensors, meta)})
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))  # the library passes the disk's error as text only
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error


def tensors_of(file, meta: dict[str, str], path: str | Path) -> dict[str, torch.Tensor]:
    """All tensors of an open file that `write_whole` wrote. Raises SnapshotError where one bit of it has changed."""
    held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if meta.get("sum") != _sum(held, {name: value for name, value in meta.items() if name != "sum"}):
        raise SnapshotError(f"{path} is not what was saved: its disk has erred, or it was changed; nothing was loaded")
    return held


def _sum(tensors: dict[str, torch.Tensor], meta: dict[str, str]) -> str:
    """A checksum over everything in a file."""
    hasher = hashlib.blake2b(json.dumps(sorted(meta.items())).encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        hasher.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        if tensor.numel():  # torch lets no empty tensor be seen as bytes
            hasher.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()


def load_session(engine: SessionEngine, path: str | Path, *changes: str | Path) -> Session:
    """Read what `save_session` wrote, and what `save_changes` wrote after it, in order. Raises SnapshotError, and
    takes no pages, if anything is wrong."""
    try:
        held, meta = _read(engine, path, "session")
        if changes:
            laid = Laid(held, meta)
            for change in changes:
                laid.lay(*_read(engine, change, "session changes"))
            held, meta = laid.whole()
        actions = [action_of(row) for row in json.loads(meta["actions"])]
        session = _rebuild(engine, meta, held, actions)
        _tell_of_other_dreams(json.loads(meta["dida"]), vars(engine.dida), path)
        return session
    except SnapshotError:
        raise
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
        raise SnapshotError(f"{path} is torn or no saved session ({error}); nothing was loaded") from error


def _read(engine: SessionEngine, path: str | Path, kind: str) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """A file's tensors and its description of them."""
    with safe_open(readable(path), "pt") as file:
        meta = file.metadata() or {}
        if meta.get("roam") != kind or meta.get("format") != FORMAT:
            raise SnapshotError(f"{path} is no saved {kind} of format {FORMAT}; wanted a file that saving wrote")
        if meta["weights"] != engine.checkpoint.digest:
            raise SnapshotError(
                f"{path} was saved with weights {meta['weights']}, these are {engine.checkpoint.digest}; "
                "load the model that it was walked with"
            )
        held = tensors_of(file, meta, path)
    # older files do not say where views are from: in those, nothing was dreamt anew, and no view is known to be whole
    is_told = "origins" in held
    held.setdefault("origins", torch.zeros(len(held["views"]), dtype=torch.uint8))
    all_first = held["fresh"].eq(255).all(1)
    held.setdefault("whole", all_first & held["origins"].eq(SEEN) if is_told else torch.zeros_like(all_first))
    return held, meta


def _tell_of_other_dreams(before: dict, now: dict, path: str | Path) -> None:
    """Log that dreams from here on use other settings than those saved; stored frames stay as they are."""
    names = [name for name in now if name.startswith("dream_")]
    if other := [f"{name} {before.get(name)}, now {now[name]}" for name in names if before.get(name) != now[name]]:
        log.warning("%s was dreamt with %s: what comes now is dreamt as it would be now", path, "; ".join(other))


def _rebuild(
    engine: SessionEngine, meta: dict[str, str], held: dict[str, torch.Tensor], actions: list[Action]
) -> Session:
    cache = engine.cache
    count, expected = len(held["numbers"]), (cache.k.shape[0], *cache.k.shape[2:])
    for name in ("k", "v"):
        if held[name].shape != (expected[0], count, *expected[1:]):
            raise SnapshotError(
                f"saved keys of shape {tuple(held[name].shape)}; this model wants {expected} for {count} pages"
            )
    pictures = _pictures(held)
    views, origins, is_whole = {}, held["origins"], held["whole"].bool()
    if len(origins) != len(held["views"]) or not torch.isin(origins, torch.tensor(ORIGINS, dtype=origins.dtype)).all():
        raise SnapshotError(f"saved views whose origins are not one each of {ORIGINS}; nothing was loaded")
    if len(is_whole) != len(held["views"]):
        raise SnapshotError(
            f"{len(held['views'])} saved views, {len(is_whole)} said to be whole or not; none was loaded"
        )
    rows = zip(held["views"].tolist(), held["fresh"].numpy(), origins.tolist(), is_whole.tolist(), strict=False)
    for index, row, origin, is_all in rows:  # in the order of remembering
        pixels, depth, pose = pictures[index]
        if pose is None:
            raise SnapshotError("a saved view has no pose; nothing was loaded")
        views[index] = View(pixels, depth, pose, None if is_all else unpacked(row, depth.shape), origin)
    camera = Camera(engine.frame_side, engine.frame_side)
    told = json.loads(meta["memories"])
    if forms.CHANGED in meta:
        found, stands = forms.read(held)
        memories = forms.remembered(views, told, found, json.loads(meta[forms.CHANGED]), stands, camera)
    else:
        memories = _remembered_again(views, told, camera)
    shown = []
    for index, tokens, has in zip(held["moments"].tolist(), held["tokens"].numpy(), held["has_tokens"], strict=True):
        pixels, depth, pose = pictures[view_index(index)]
        shown.append(Frame(index, pixels, tokens.astype(np.int32) if has else None, depth, pose))
    seen = [tuple(places) for places in json.loads(meta["keyframes"])]
    if len(memories) != len(shown) or len(seen) != len(shown) or not all(map(len, seen)):
        raise SnapshotError("saved moments, memories and keyframes differ in number; nothing was loaded")
    if not all(0 <= place < count for places in seen for place in places):
        raise SnapshotError(f"saved moments name keyframes beyond the {count} that are there; nothing was loaded")
    pages = [cache.allocate() for _ in range(count)]
    index = torch.tensor(pages, device=cache.k.device)
    cache.k[:, index], cache.v[:, index] = held["k"].to(cache.k), held["v"].to(cache.v)
    cache.lengths[index] = held["lengths"].to(cache.lengths)
    keyframes = [
        Keyframe(page, number, grid.astype(np.int32))
        for page, number, grid in zip(pages, held["numbers"].tolist(), held["grids"].numpy(), strict=True)
    ]
    for page in (pages[place] for places in seen for place in places):
        cache.pool.share(page)
    for page in pages:  # each moment holds its own pages
        cache.pool.release(page)
    moments = [
        Moment(frame, tuple(keyframes[place] for place in places), memory)
        for frame, places, memory in zip(shown, seen, memories, strict=True)
    ]
    return Session(
        engine,
        moments,
        actions,
        seed=int(meta["seed"]),
        start=meta["start"],
        decoder=meta["decoder"],
        is_solid=json.loads(meta.get("solid", "false")),
    )


def _remembered_again(views: dict[int, View], told: list[list[int]], camera: Camera) -> list[ViewMemory]:
    """The memory at each moment, from the indices of its views, for a file of before that does not tell of forms. Views
    are remembered again in their old order, so that a new dream takes away much the same of older views as before."""
    memories, memory = [], ViewMemory(camera, limit=10**9)
    for indices in told:
        known, wanted = set(memory.indices), set(indices)
        memory = memory.only(indices, limit=10**9)
        for index, view in views.items():
            if index in wanted and index not in known:
                memory = memory.with_view(index, view)
        memories.append(memory.only(indices, limit=VIEW_LIMIT))
    return memories


def _pictures(held: dict[str, torch.Tensor]) -> dict[int, tuple[np.ndarray, np.ndarray, Pose | None]]:
    """Every stored picture by its index: pixels, depth, pose."""
    rows = zip(held["index"].tolist(), held["pixels"].numpy(), held["depth"].numpy(), held["pose"], strict=True)
    return {index: (pixels, depth.astype(np.float32), pose_of(pose.tolist())) for index, pixels, depth, pose in rows}


def _depth_of(picture: View | Frame) -> np.ndarray:
    assert picture.depth is not None, "a session's pictures have depth"
    return picture.depth
