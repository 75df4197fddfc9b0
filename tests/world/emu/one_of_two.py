"""One of two processes that answer together: `python one_of_two.py RANK FOLDER MODEL VISION` writes its tokens."""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from roam.world.emu.answer import AnswerWriter, Request
from roam.world.emu.checkpoint import load_official
from roam.world.emu.prompts import preset
from torch.distributed.device_mesh import init_device_mesh


def answered(model: str, vision: str, mesh=None) -> list[int]:
    checkpoint = load_official(model, vision, context=512, mesh=mesh)
    changes = dict(area=32 * 48, max_tokens=40, text_limit=5)
    writer = AnswerWriter(checkpoint, Request("story", "a red door", preset=preset("story", **changes), size=(2, 3)))
    for _ in writer.events():
        pass
    return writer.tokens


def main(rank: str, folder: str, model: str, vision: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=int(rank), world_size=2)
    tokens = answered(model, vision, init_device_mesh("cpu", (2,)))
    Path(folder, f"{rank}.json").write_text(json.dumps(tokens))
    dist.barrier()  # whoever leaves first must not take the line from the other
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
