"""One of two processes that compute an answer together: `python one_of_two.py RANK FOLDER MODEL VISION` writes its
results."""

import json
import sys
from pathlib import Path

import torch
import torch.distributed as dist
from roam.kernels.linear import linear
from roam.world.config import PageConfig
from roam.world.emu.answer import AnswerWriter, Request
from roam.world.emu.checkpoint import load_official
from roam.world.emu.prompts import preset
from roam.world.emu.token_stream import StreamPasses, TokenStream
from roam.world.transformer.cache import KVCache
from roam.world.transformer.joined import dense_of
from roam.world.transformer.tensor_parallel import Split
from torch.distributed.device_mesh import init_device_mesh

PRECISIONS = ("float32", "bfloat16", "fp8", "int8", "int4")


def answered(model: str, vision: str, mesh=None) -> list[int]:
    """The tokens of a story with pictures, in float32, where the order of a sum decides no token."""
    checkpoint = load_official(model, vision, context=512, mesh=mesh)
    changes = dict(area=32 * 48, max_tokens=40, text_limit=5)
    writer = AnswerWriter(checkpoint, Request("story", "a red door", preset=preset("story", **changes), size=(2, 3)))
    for _ in writer.events():
        pass
    return writer.tokens


def states(model: str, vision: str, precision: str, mesh=None) -> list[list[float]]:
    """The hidden states of forty tokens after twenty others."""
    served = load_official(model, vision, context=512, precision=precision, mesh=mesh).model
    cache = KVCache(
        served.config, PageConfig(), device=torch.device("cpu"), num_pages=1, dtype=served.lm_head.weight.dtype
    )
    stream = TokenStream(cache, context=128)
    stream.append(range(20))
    return StreamPasses(served, cache).advance([stream], range(20, 60))[0].float().tolist()


def check_products(split: Split) -> None:
    """The products of a share equal those of the whole weight, in every precision."""
    torch.manual_seed(0)
    weight, x = torch.randn(96, 256), torch.randn(5, 256) * torch.tensor([1, 9, 1e-3, 0, 2])[:, None]
    x[:, :128] *= 3  # the largest value of a row is in one of the shares
    for precision in PRECISIONS:
        dense = dense_of(weight, precision, torch.float32)
        whole, share = linear(x, dense), x.chunk(2, 1)[split.rank].contiguous()
        torch.testing.assert_close(split.product("down_proj", dense)(share), whole, atol=1e-4, rtol=1e-5)
        rows = linear(x, split.product("up_proj", dense))
        torch.testing.assert_close(rows, whole.chunk(2, 1)[split.rank], atol=1e-5, rtol=1e-5)


def main(rank: str, folder: str, model: str, vision: str) -> None:
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/meet", rank=int(rank), world_size=2)
    mesh = init_device_mesh("cpu", (2,))
    check_products(Split.of(mesh))
    found = {precision: states(model, vision, precision, mesh) for precision in PRECISIONS}
    Path(folder, f"{rank}.json").write_text(json.dumps([answered(model, vision, mesh), found]))
    dist.barrier()  # the first to finish must not close the connection of the other
    dist.destroy_process_group()


if __name__ == "__main__":
    main(*sys.argv[1:])
