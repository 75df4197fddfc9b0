"""A session's complete state in one file: what is loaded goes on exactly as what was saved would have.

Depth is not stored: the tokens decode to it again, bit for bit. Keys and values are, because a page's depend on pages
that have long been dropped. Random state is a seed and a frame number. Nothing in the file is executed.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from .action import Action
from .frame import Frame
from .geometry import View
from .memory import VIEW_LIMIT, ViewMemory
from .pose import Camera, Motion, Pose
from .session import Moment, Session

if TYPE_CHECKING:
    from .engine import Engine

FORMAT = "1"


class SnapshotError(ValueError):
    """A saved session that cannot be used; the message says what came and what was wanted."""


def save_session(session: Session, path: str | Path) -> None:
    """Write `session` to `path`, whole or not at all."""
    session.settle()
    cache, moments = session.engine.cache, session.moments
    pages = torch.tensor([moment.page for moment in moments])
    pictures = {index: view for moment in moments for index, view in moment.memory.items()}
    pictures |= {moment.frame.index: moment.frame for moment in moments}
    tensors = {
        "k": cache.k[:, pages].cpu(), "v": cache.v[:, pages].cpu(), "lengths": cache.lengths[pages].cpu(),
        "moments": torch.tensor([moment.frame.index for moment in moments]),
        "index": torch.tensor(list(pictures)),
        "tokens": torch.from_numpy(np.stack([picture.tokens for picture in pictures.values()])),
        "pixels": torch.from_numpy(np.stack([picture.pixels for picture in pictures.values()])),
        "pose": torch.tensor([_pose_row(picture.pose) for picture in pictures.values()], dtype=torch.float64),
    }  # fmt: skip
    meta = {
        "roam": "session", "format": FORMAT, "weights": session.engine.checkpoint.digest, "seed": str(session.seed),
        "start": session.start, "decoder": session.decoder, "dida": json.dumps(vars(session.engine.dida)),
        "actions": json.dumps([_action_row(action) for action in session.actions]),
        "memories": json.dumps([moment.memory.indices for moment in moments]),
    }  # fmt: skip
    partial = Path(f"{path}.partial")
    save_file({name: tensor.contiguous() for name, tensor in tensors.items()}, partial, metadata=meta)
    partial.rename(path)


def load_session(engine: Engine, path: str | Path) -> Session:
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
            held = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        actions = [_action(row) for row in json.loads(meta["actions"])]
        return _rebuild(engine, meta, held, actions)
    except SnapshotError:
        raise
    except (OSError, SafetensorError, KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
        raise SnapshotError(f"{path} is torn or no saved session ({error}); nothing was loaded") from error


def _rebuild(engine: Engine, meta: dict[str, str], held: dict[str, torch.Tensor], actions: list[Action]) -> Session:
    cache = engine.cache
    count, expected = len(held["moments"]), (cache.k.shape[0], *cache.k.shape[2:])
    for name in ("k", "v"):
        if held[name].shape != (expected[0], count, *expected[1:]):
            raise SnapshotError(
                f"saved keys of shape {tuple(held[name].shape)}; this model wants {expected} for {count} pages"
            )
    frames = _frames(engine, held)
    memory = ViewMemory(Camera(engine.vision.config.size, engine.vision.config.size), limit=10**9)
    for index, frame in sorted(frames.items()):
        if frame.pose is not None:
            memory = memory.with_view(index, View(frame.pixels, frame.depth, frame.pose, frame.tokens))
    memories = [memory.only(indices, limit=VIEW_LIMIT) for indices in json.loads(meta["memories"])]
    shown = [frames[index] for index in held["moments"].tolist()]
    pages = [cache.allocate() for _ in shown]
    index = torch.tensor(pages, device=cache.k.device)
    cache.k[:, index], cache.v[:, index] = held["k"].to(cache.k), held["v"].to(cache.v)
    cache.lengths[index] = held["lengths"].to(cache.lengths)
    moments = [Moment(*parts) for parts in zip(shown, pages, memories, strict=True)]
    return Session(engine, moments, actions, seed=int(meta["seed"]), start=meta["start"], decoder=meta["decoder"])


def _frames(engine: Engine, held: dict[str, torch.Tensor]) -> dict[int, Frame]:
    """Every stored picture as a frame again, by its index."""
    rows = zip(held["index"].tolist(), held["tokens"].numpy(), held["pixels"].numpy(), held["pose"], strict=True)
    return {
        index: Frame(index, pixels, tokens.astype(np.int32), engine.show(tokens)[1], _pose(pose))
        for index, tokens, pixels, pose in rows
    }


def _pose_row(pose: Pose | None) -> list[float]:
    return [float("nan")] * 7 if pose is None else [*pose.position, *pose.wxyz]


def _pose(row: torch.Tensor) -> Pose | None:
    values = row.tolist()
    return None if values[0] != values[0] else Pose(tuple(values[:3]), tuple(values[3:]))


def _action_row(action: Action) -> list:
    motion = action.motion
    return [action.text, None if motion is None else [motion.forward, motion.right, motion.yaw_deg, motion.pitch_deg]]


def _action(row: list) -> Action:
    text, motion = row
    return Action(text, None if motion is None else Motion(*motion))
