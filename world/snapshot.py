"""A session's complete state in one file: what is loaded goes on exactly as what was saved would have.

Keys and values are stored, because a page's depend on pages that have long been dropped; so is depth (in float16, which
is all that frames hold), because a surface's stays that of the view that showed it first. Random state is a seed and a
frame number. Nothing in the file is executed.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import re
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .action import Action
from .frame import Frame
from .pose import Camera, Pose
from .records import action_of, action_row, pose_of, pose_row
from .session import Keyframe, Moment, Session, SessionEngine, view_index
from .spatial.view_memory import VIEW_LIMIT, ViewMemory
from .spatial.warp import View

FORMAT = "3"


class SnapshotError(ValueError):
    """A saved session that cannot be used; the message says what came and what was wanted."""


def save_session(session: Session, path: str | Path) -> None:
    """Write `session` to `path`, whole or not at all."""
    session.settle()
    cache, moments = session.engine.cache, session.moments
    keyframes = {keyframe.page: keyframe for moment in moments for keyframe in moment.keyframes}
    pages, place = torch.tensor(list(keyframes)), {page: k for k, page in enumerate(keyframes)}
    frames = {view_index(moment.frame.index): moment.frame for moment in moments}
    views = {index: view for moment in moments for index, view in moment.memory.items()}
    pictures = views | frames
    nothing = np.zeros(session.engine.layout.grid, np.int32)
    tensors = {
        "k": cache.k[:, pages].cpu(), "v": cache.v[:, pages].cpu(), "lengths": cache.lengths[pages].cpu(),
        "numbers": torch.tensor([keyframe.number for keyframe in keyframes.values()]),
        "grids": torch.from_numpy(np.stack([keyframe.tokens for keyframe in keyframes.values()])),
        "moments": torch.tensor([moment.frame.index for moment in moments]),
        "has_tokens": torch.tensor([frame.tokens is not None for frame in frames.values()]),
        "tokens": torch.from_numpy(np.stack([nothing if frame.tokens is None else frame.tokens
                                             for frame in frames.values()])),
        "index": torch.tensor(list(pictures)),
        "pixels": torch.from_numpy(np.stack([picture.pixels for picture in pictures.values()])),
        "depth": torch.from_numpy(np.stack([picture.depth.astype(np.float16) for picture in pictures.values()])),
        "pose": torch.tensor([pose_row(picture.pose) for picture in pictures.values()], dtype=torch.float64),
        "views": torch.tensor(list(views), dtype=torch.int64),
        "fresh": torch.from_numpy(np.stack([_packed(view) for view in views.values()] or [np.zeros(0, np.uint8)])),
    }  # fmt: skip
    meta = {
        "roam": "session", "format": FORMAT, "weights": session.engine.checkpoint.digest, "seed": str(session.seed),
        "start": session.start, "decoder": session.decoder, "dida": json.dumps(vars(session.engine.dida)),
        "actions": json.dumps([action_row(action) for action in session.actions]),
        "solid": json.dumps(session.is_solid), "memories": json.dumps([moment.memory.indices for moment in moments]),
        "keyframes": json.dumps([[place[page] for page in moment.held] for moment in moments]),
    }  # fmt: skip
    write_whole({name: tensor.contiguous() for name, tensor in tensors.items()}, path, meta)


def write_whole(tensors: dict[str, torch.Tensor], path: str | Path, meta: dict[str, str]) -> None:
    """Write one safetensors file; what was there stays until the new one is whole. Raises OSError for a disk that is
    full or not to be written, and leaves nothing behind."""
    partial = Path(f"{path}.partial")
    try:
        save_file(tensors, partial, metadata=meta | {"sum": _sum(tensors, meta)})
        partial.replace(path)
    except SafetensorError as error:
        number = re.search(r"os error (\d+)", str(error))  # the library knows the disk's error as words alone
        if number is None:
            raise
        raise OSError(int(number[1]), os.strerror(int(number[1])), str(path)) from error
    finally:
        with contextlib.suppress(OSError):
            partial.unlink(missing_ok=True)


def tensors_of(file, meta: dict[str, str], path: str | Path) -> dict[str, torch.Tensor]:
    """All tensors of an open file that `write_whole` wrote. Raises SnapshotError where one bit of it has changed."""
    held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if meta.get("sum") != _sum(held, {name: value for name, value in meta.items() if name != "sum"}):
        raise SnapshotError(f"{path} is not what was saved: its disk has erred, or it was changed; nothing was loaded")
    return held


def _sum(tensors: dict[str, torch.Tensor], meta: dict[str, str]) -> str:
    """A digest of all that a file holds."""
    hasher = hashlib.blake2b(json.dumps(sorted(meta.items())).encode(), digest_size=16)
    for name, tensor in sorted(tensors.items()):
        hasher.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
        hasher.update(tensor.contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return hasher.hexdigest()


def load_session(engine: SessionEngine, path: str | Path) -> Session:
    """Read what `save_session` wrote. Raises SnapshotError, and takes no pages, if anything is amiss."""
    try:
        with safe_open(path, "pt") as file:
            meta = file.metadata() or {}
            if meta.get("roam") != "session" or meta.get("format") != FORMAT:
                raise SnapshotError(f"{path} is no saved session of format {FORMAT}; wanted a file that saving wrote")
            if meta["weights"] != engine.checkpoint.digest:
                raise SnapshotError(
                    f"{path} was saved with weights {meta['weights']}, these are {engine.checkpoint.digest}; "
                    "load the model that it was walked with"
                )
            held = tensors_of(file, meta, path)
        actions = [action_of(row) for row in json.loads(meta["actions"])]
        return _rebuild(engine, meta, held, actions)
    except SnapshotError:
        raise
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
        raise SnapshotError(f"{path} is torn or no saved session ({error}); nothing was loaded") from error


def _rebuild(engine: SessionEngine, meta: dict[str, str], held: dict[str, torch.Tensor],
             actions: list[Action]) -> Session:  # fmt: skip
    cache = engine.cache
    count, expected = len(held["numbers"]), (cache.k.shape[0], *cache.k.shape[2:])
    for name in ("k", "v"):
        if held[name].shape != (expected[0], count, *expected[1:]):
            raise SnapshotError(
                f"saved keys of shape {tuple(held[name].shape)}; this model wants {expected} for {count} pages"
            )
    pictures = _pictures(held)
    memory = ViewMemory(Camera(engine.frame_side, engine.frame_side), limit=10**9)
    for index, row in zip(held["views"].tolist(), held["fresh"].numpy(), strict=False):  # in the order of remembering
        pixels, depth, pose = pictures[index]
        memory = memory.with_view(index, View(pixels, depth, pose, _unpacked(row, depth.shape)))
    memories = [memory.only(indices, limit=VIEW_LIMIT) for indices in json.loads(meta["memories"])]
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
    for page in pages:  # the moments hold them now
        cache.pool.release(page)
    moments = [
        Moment(frame, tuple(keyframes[place] for place in places), memory)
        for frame, places, memory in zip(shown, seen, memories, strict=True)
    ]
    return Session(engine, moments, actions, seed=int(meta["seed"]), start=meta["start"], decoder=meta["decoder"],
                   is_solid=json.loads(meta.get("solid", "false")))  # fmt: skip


def _pictures(held: dict[str, torch.Tensor]) -> dict[int, tuple[np.ndarray, np.ndarray, Pose | None]]:
    """Every stored picture by its index: pixels, depth, pose."""
    rows = zip(held["index"].tolist(), held["pixels"].numpy(), held["depth"].numpy(), held["pose"], strict=True)
    return {index: (pixels, depth.astype(np.float32), pose_of(pose.tolist())) for index, pixels, depth, pose in rows}


def _packed(view: View) -> np.ndarray:
    fresh = np.ones(view.depth.shape, bool) if view.fresh is None else view.fresh
    return np.packbits(fresh)


def _unpacked(row: np.ndarray, shape: tuple[int, int]) -> np.ndarray:
    return np.unpackbits(row, count=shape[0] * shape[1]).reshape(shape).astype(bool)
