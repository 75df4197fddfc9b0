"""How well a model reads recordings of other people's worlds, and predicts one step of them.

`python -m roam.bench.recorded data/doom --split test --model doom embedded` prints, for recorded keyframes, PSNR in dB
through the tokenizer and through the painter that knows only the codes, and AbsRel of the decoder's depth; for recorded
walks, PSNR of one step after true frames, compared with the previous frame and with memory alone.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np
import torch

from ..world.checkpoint import Checkpoint, load_checkpoint
from ..world.engine import Engine
from ..world.frame import Frame
from ..world.tokens.vision import MAX_DEPTH, VisionTokenizer
from ..world.training.data import Walks, load_walks
from .quick import CONTEXT, HeldOutWalk, Tally, observed, peek, seen_before

EVERY = 4  # frames of a walk from one step that is asked for to the next
BATCH = 16


@torch.inference_mode()
def round_trip(checkpoint: Checkpoint, walks: Walks) -> dict[str, float]:
    """Means over every second frame: PSNR in dB through tokenizer and painter, AbsRel of the decoder's depth."""
    vision, painter = checkpoint.vision, checkpoint.painter
    assert isinstance(vision, VisionTokenizer) and walks.depth is not None
    pixels = walks.pixels[:, 1::2].reshape(-1, *walks.pixels.shape[2:])
    depth = walks.depth[:, 1::2].reshape(-1, *walks.depth.shape[2:]).astype(np.float32)
    noise, scores = torch.Generator().manual_seed(0), Tally()
    off: list[float] = []
    for k in range(0, len(pixels), BATCH):
        true, far = pixels[k : k + BATCH], depth[k : k + BATCH]
        codes = vision.encode(torch.from_numpy(true))
        shown = {"tokenizer": vision.decode(codes)[0]}
        error = np.abs(vision.decode(codes)[1].numpy() - far) / far
        off += [float(error[n][far[n] < MAX_DEPTH].mean()) for n in range(len(true)) if (far[n] < MAX_DEPTH).any()]
        if painter is not None:
            nothing = torch.zeros(true.shape, dtype=torch.uint8), torch.ones(far.shape), torch.zeros(far.shape).bool()
            grain = torch.randn((len(true), 1, *far.shape[1:]), generator=noise)
            shown["painter"] = painter.paint(vision.points(codes).movedim(-1, 1), *nothing, grain)[0]
        for row, made in shown.items():
            for a, b in zip(true, made.numpy(), strict=True):
                scores.add(row, a, b)
    return {f"{row}, dB": scores.mean(row) for row in scores.scores} | {"depth AbsRel": float(np.mean(off))}


def one_step(checkpoint: Checkpoint, walks: Walks) -> Tally:
    """A step after CONTEXT true frames or more, at every EVERY-th place of each walk where the walker moved freely."""
    assert walks.poses is not None and walks.depth is not None
    engine, tally = Engine(checkpoint), Tally()
    for r in range(len(walks.pixels)):
        depth = np.asarray(walks.depth[r], np.float32)
        parts = zip(walks.pixels[r], depth, walks.poses[r], strict=True)
        frames = tuple(Frame(t, pixels, depth=far, pose=pose) for t, (pixels, far, pose) in enumerate(parts))
        walk = HeldOutWalk(r, frames, tuple(walks.actions[r]))
        session = observed(engine, walk, CONTEXT)
        for t in range(CONTEXT, len(frames)):
            action, truth, before = walk.actions[t - 1], frames[t], frames[t - 1]
            if t % EVERY == 0 and _is_free(walk, t):
                seen, carried = seen_before(walk, t), session.plan(action).there[1]
                tally.add("copy-last", truth.pixels, before.pixels, seen)
                tally.add("memory alone", truth.pixels, carried.pixels, seen)
                tally.add("model", truth.pixels, peek(session, action).pixels, seen)
            session.observe(action, truth.pixels, truth.pose)
        session.close()
    return tally


def _is_free(walk: HeldOutWalk, t: int) -> bool:
    """Whether the step before frame t moved the walker, and as far as was commanded."""
    here, there, motion = walk.frames[t - 1].pose, walk.frames[t].pose, walk.actions[t - 1].known_motion
    assert here is not None and there is not None
    moved = there.distance_to(here) > 0.01 or there.angle_to(here) > 1
    return moved and there.distance_to(here.moved(motion)) < 1e-6


def main(args: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="a folder of `roam record`, with keyframes")
    parser.add_argument("--model", nargs="+", default=["embedded"], help="checkpoints")
    parser.add_argument("--split", default="test", help="train, dev or test")
    parser.add_argument("--keyframe-walks", type=int, default=32, help="walks to read")
    parser.add_argument("--walks", type=int, default=8, help="walks to go on with")
    asked = parser.parse_args(args)
    keyframes = load_walks(asked.data / "keyframes", asked.split, asked.keyframe_walks)
    steps = load_walks(asked.data, asked.split, asked.walks)
    for name in asked.model:
        checkpoint = load_checkpoint(name)
        said = {**round_trip(checkpoint, keyframes)}
        tally = one_step(checkpoint, steps)
        for row in tally.scores:
            said |= {f"one step, {row}, {c}, dB": tally.mean(row, c) for c in ("all", "covered", "newly seen")}
        said["one step over copy-last, dB"] = tally.mean("model") - tally.mean("copy-last")
        print(f"{name}, {asked.split}: " + "; ".join(f"{what} {value:.2f}" for what, value in said.items()), flush=True)


if __name__ == "__main__":
    main()
