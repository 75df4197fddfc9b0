"""The whole recipe of the embedded model, in its order: record; train the tokenizer and the depth refiner; make
canvases; train the world model. Then for dreams: record keyframes; train the world model on holes; teach it guided
predictions; train the painter; dream at keyframes; finish the painter on those dreams; pack. Each stage continues
where it was stopped; only numbers scale it up. A run can also begin with the weights of a checkpoint, and then has
only the last stages."""

from __future__ import annotations

import contextlib
import json
import logging
import shutil
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

import torch
from safetensors.numpy import load_file, save_file

from ...scenes.recorder import record
from ..checkpoint import Checkpoint, config_from, load_checkpoint, save_checkpoint
from ..config import DidaConfig, LayoutConfig, ModelConfig
from ..files import whole, write_text_whole
from ..tokens.depth import DepthConfig, DepthRefiner
from ..tokens.painter import Painter, PainterConfig
from ..tokens.text import TextTokenizer
from ..tokens.vision import VisionConfig, VisionTokenizer
from ..tokens.vocabulary import Vocabulary
from .canvases import Canvases, load_canvases, make_canvases, save_canvases
from .data import Walks, load_walks
from .depth import DepthRecipe, train_depth
from .dream import DreamRecipe, train_dream
from .fresh import FreshShards, Growing, dream_codes, fresh_glimpses
from .guide import GuideRecipe, taught_by, teacher_for, train_guided
from .painter import Glimpse, PainterRecipe, train_painter
from .parallel import launch
from .run import has_state, read_state
from .tokenizer import TokenizerRecipe, train_tokenizer
from .world_model import WorldRecipe, WorldTrainer, train_world_model

log = logging.getLogger(__name__)

STAGES: tuple[str, ...] = ("record", "tokenizer", "depth", "canvases", "world")
STAGES += ("keyframes", "dream", "guide", "painter", "dreams", "finish", "pack")
USUAL = tuple(stage for stage in STAGES if stage != "guide")  # the stages of the weights that ship
BEGIN = "begin"  # the folder of the checkpoint that a run starts from
DREAMS = "dreams.safetensors"
FEWEST_DREAMS = 8  # from which the painter's last stage learns
FIRST_KEYFRAMES = 3000  # number of the first scene for recorded keyframes
FIRST_FRESH, FIRST_GLIMPSE = 100_000, 500_000  # number of the first scene for those that are rendered during training


@dataclass(frozen=True)
class Recipe:
    """Everything that decides the result: data, sizes, seeds, and minutes of training. data: a folder of recordings
    to learn from instead of our own scenes; its keyframes are in its folder `keyframes`. teacher: a checkpoint with
    the same tokenizer, from which the dream learns. fresh: processes that render new walks while the dream and the
    painter train, 0 for none; only for our own scenes."""

    data: str = ""
    teacher: str = ""
    walks: int = 3000
    held_out_walks: int = 64
    frames: int = 24
    canvas_walks: int = 2400
    workers: int = 2
    keyframe_walks: int = 3200
    keyframe_canvas_walks: int = 2400
    keyframes: int = 6
    dreams: int = 2400
    fresh: int = 0
    model: ModelConfig = field(default_factory=lambda: ModelConfig(1))  # its vocabulary is that of the tokenizers
    vision: VisionConfig = field(default_factory=VisionConfig)
    layout: LayoutConfig = field(default_factory=LayoutConfig)
    dida: DidaConfig = field(default_factory=DidaConfig)
    depth: DepthConfig = field(default_factory=DepthConfig)
    tokenizer: TokenizerRecipe = field(default_factory=TokenizerRecipe)
    refiner: DepthRecipe = field(default_factory=DepthRecipe)
    world: WorldRecipe = field(default_factory=WorldRecipe)
    painter: PainterConfig = field(default_factory=lambda: PainterConfig(fine=16))
    painting: PainterRecipe = field(default_factory=PainterRecipe)
    # ended early: some hundred steps later the painter paints patterns that only the discriminators take for walls
    finishing: PainterRecipe = field(
        default_factory=lambda: PainterRecipe(stop_at=400, batch=4, dreamt=4, max_seconds=3720.0)
    )
    dream: DreamRecipe = field(default_factory=DreamRecipe)
    guide: GuideRecipe = field(default_factory=GuideRecipe)


def run_recipe(
    folder: str | Path,
    recipe: Recipe,
    *,
    stages: tuple[str, ...] = USUAL,
    begin: str | Path | None = None,
    device: str = "cpu",
    progress=None,
) -> Path:
    """Run the named stages in `folder`; returns the folder of the packed checkpoint. Raises ValueError for an unknown
    stage, FileNotFoundError if an earlier one has not run.

    begin: a checkpoint whose weights the run starts from, instead of its own earlier stages. It is copied into the
    folder, so that later calls need not name it. progress: called with (stage, share done, a dict of figures).
    """
    if unknown := set(stages) - set(STAGES):
        raise ValueError(f"unknown stage '{unknown.pop()}'; known: {', '.join(STAGES)}")
    folder = Path(folder)
    report = progress or (lambda stage, share, row: None)
    if begin is not None and not (folder / BEGIN).exists():
        save_checkpoint(load_checkpoint(begin), folder / BEGIN)
    for stage in (stage for stage in STAGES if stage in stages):
        log.info("stage %s", stage)
        _RUN[stage](folder, recipe, device, lambda share, row=None, stage=stage: report(stage, share, row or {}))
    return folder / "checkpoint"


def stages_for(data: str | Path) -> tuple[str, ...]:
    """The stages that recordings allow: without poses places cannot be remembered, without depth distances are
    unknown, and without keyframes dreaming cannot be learnt."""
    first = load_walks(data, "train", limit=1)
    left_out = {"record"}
    if first.depth is None:
        left_out |= {"depth"}
    if first.depth is None or first.poses is None or not any((Path(data) / "keyframes").glob("train-*.safetensors")):
        left_out |= {"keyframes", "dream", "dreams", "painter", "finish"}
    return tuple(stage for stage in USUAL if stage not in left_out)


def _recordings(folder: Path, recipe: Recipe) -> Path:
    return Path(recipe.data or folder / "recordings")


def _keyframe_recordings(folder: Path, recipe: Recipe) -> Path:
    return Path(recipe.data or folder) / "keyframes"


def _pictures(folder: Path, recipe: Recipe) -> Path:
    """The recordings with more walks, for what learns from single frames."""
    both = _recordings(folder, recipe), _keyframe_recordings(folder, recipe)
    return max(both, key=lambda kind: len(list(kind.glob("train-*.safetensors"))))


def _begun(folder: Path) -> Checkpoint | None:
    """The checkpoint that a run began with."""
    return load_checkpoint(folder / BEGIN) if (folder / BEGIN).exists() else None


def _record(folder: Path, recipe: Recipe, device: str, report) -> None:
    if recipe.data:
        return
    for split, count in (("train", recipe.walks), ("dev", recipe.held_out_walks)):
        record(
            folder / "recordings", split, count, frames=recipe.frames, progress=lambda done, all_: report(done / all_)
        )


def _tokenizer(folder: Path, recipe: Recipe, device: str, report) -> None:
    train_tokenizer(
        _pictures(folder, recipe),
        folder / "tokenizer",
        recipe.tokenizer,
        recipe.vision,
        begin=None if (begun := _begun(folder)) is None else begun.vision,
        device=device,
        progress=report,
    )


def _depth(folder: Path, recipe: Recipe, device: str, report) -> None:
    train_depth(
        _pictures(folder, recipe),
        folder / "depth",
        recipe.refiner,
        recipe.depth,
        load_tokenizer(folder),
        begin=None if (begun := _begun(folder)) is None else begun.depth,
        device=device,
        progress=report,
    )


def _canvases(folder: Path, recipe: Recipe, device: str, report) -> None:
    vision, refiner, text = load_tokenizer(folder), load_refiner(folder, recipe), TextTokenizer()
    for split in ("dev", "train"):
        path = folder / f"canvases-{split}.safetensors"
        if not path.exists():
            walks = load_walks(_recordings(folder, recipe), split, recipe.canvas_walks)
            canvases = make_canvases(
                walks, vision, text, recipe.layout.text_capacity, refiner=refiner, device=device, progress=report
            )
            save_canvases(canvases, path)


def _world(folder: Path, recipe: Recipe, device: str, report) -> None:
    launch(recipe.workers, _world_worker, folder, recipe)


def _world_worker(rank: int, workers: int, folder: Path, recipe: Recipe) -> None:
    trainer = make_trainer(folder, recipe)
    show = (lambda share, row: log.info("%5.1f%% %s", 100 * share, row)) if rank == 0 else None
    train_world_model(
        _load(folder, "train"),
        _load(folder, "dev"),
        folder / "world",
        recipe.world,
        trainer,
        rank=rank,
        workers=workers,
        progress=show,
    )


def _keyframes(folder: Path, recipe: Recipe, device: str, report) -> None:
    counts = (("train", recipe.keyframe_walks, FIRST_KEYFRAMES), ("dev", recipe.held_out_walks, 0))
    for split, count, first in () if recipe.data else counts:
        record(
            folder / "keyframes",
            split,
            count,
            frames=recipe.keyframes,
            first=first,
            walk="keyframes",
            progress=lambda done, all_: report(0.5 * done / all_),
        )
    vision, text = load_tokenizer(folder), TextTokenizer()
    for split in ("dev", "train"):
        path = folder / f"keyframe-canvases-{split}.safetensors"
        if not path.exists():
            walks = load_walks(_keyframe_recordings(folder, recipe), split, recipe.keyframe_canvas_walks)
            canvases = make_canvases(
                walks,
                vision,
                text,
                recipe.layout.text_capacity,
                is_rendered=True,
                device=device,
                progress=lambda share: report(0.5 + 0.5 * share),
            )
            save_canvases(canvases, path)


def _dream(folder: Path, recipe: Recipe, device: str, report) -> None:
    trainer, begun = make_trainer(folder, recipe), _begun(folder)
    if begun is None:
        trainer.load_state_dict(_state(folder / "world")["average"])
    elif begun.model.config == trainer.transformer.config:
        trainer.begin_as(begun.model)
    train, dev = _keyframe_canvases(folder)
    losses = taught_by(teacher_for(trainer, recipe.teacher), device) if recipe.teacher else None
    with _growing(train, folder, recipe) as data:
        train_dream(data, dev, folder / "dream", recipe.dream, trainer, losses=losses, device=device, progress=report)


def _guide(folder: Path, recipe: Recipe, device: str, report) -> None:
    trainer = make_trainer(folder, recipe)
    trainer.load_state_dict(_state(folder / "dream")["average"])
    train, dev = _keyframe_canvases(folder)
    with _growing(train, folder, recipe) as data:
        train_guided(data, dev, folder / "guide", recipe.guide, trainer, device=device, progress=report)


@contextlib.contextmanager
def _growing(canvases: Canvases, folder: Path, recipe: Recipe) -> Iterator[Canvases | Growing]:
    """The canvases, and new ones that come during training, if the recipe wants them."""
    if not recipe.fresh:
        yield canvases
        return
    sizes = dict(frames=recipe.keyframes, capacity=recipe.layout.text_capacity, processes=recipe.fresh)
    with FreshShards(folder / "fresh", load_tokenizer(folder), first=FIRST_FRESH, **sizes):
        yield Growing(canvases, folder / "fresh")


@contextlib.contextmanager
def _glimpses(folder: Path, recipe: Recipe) -> Iterator[Iterator[list[Glimpse]] | None]:
    """The painter's glimpses of new walks, if the recipe wants them."""
    if not recipe.fresh:
        yield None
        return
    state = read_state(folder / "painter")
    made = fresh_glimpses(
        recipe.painting,
        first=FIRST_GLIMPSE,
        frames=recipe.keyframes,
        processes=recipe.fresh,
        step=state["step"] if state else 0,
    )
    with contextlib.closing(made):
        yield made


def _keyframe_canvases(folder: Path) -> tuple[Canvases, Canvases]:
    train, dev = (load_canvases(folder / f"keyframe-canvases-{split}.safetensors") for split in ("train", "dev"))
    return train, dev


def _painter(folder: Path, recipe: Recipe, device: str, report) -> None:
    walks, held_out = _painted_walks(folder, recipe)
    with _glimpses(folder, recipe) as glimpses:
        train_painter(
            walks,
            held_out,
            folder / "painter",
            recipe.painting,
            recipe.painter,
            load_tokenizer(folder),
            begin=_begun_painter(folder),
            glimpses=glimpses,
            device=device,
            progress=report,
        )


def _dreams(folder: Path, recipe: Recipe, device: str, report) -> None:
    path = folder / DREAMS
    if not path.exists():
        walks, _ = _painted_walks(folder, recipe)
        codes = dream_codes(_unpainted(folder, recipe), walks, recipe.dreams, recipe.finishing, progress=report)
        with whole(path) as partial:
            save_file({"tokens": codes}, partial)


def _finish(folder: Path, recipe: Recipe, device: str, report) -> None:
    if not (folder / DREAMS).exists():
        raise FileNotFoundError(f"no {folder / DREAMS}; run the stage 'dreams' first")
    judges = _state(folder / "painter")["judge"] if (folder / "painter" / "state.pt").exists() else None
    train_painter(
        *_painted_walks(folder, recipe),
        folder / "finish",
        recipe.finishing,
        recipe.painter,
        load_tokenizer(folder),
        dreamt=load_file(folder / DREAMS)["tokens"],
        begin=_newest_painter(folder),
        judges=judges,
        device=device,
        progress=report,
    )


def _painted_walks(folder: Path, recipe: Recipe) -> tuple[Walks, Walks]:
    recordings = _keyframe_recordings(folder, recipe)
    return load_walks(recordings, "train"), load_walks(recordings, "dev")


def _newest_painter(folder: Path) -> Painter | None:
    for stage in ("finish", "painter"):
        if (folder / stage / "state.pt").exists():
            return _averaged(folder / stage, Painter, PainterConfig)
    return _begun_painter(folder)


def _begun_painter(folder: Path) -> Painter | None:
    begun = _begun(folder)
    painter = None if begun is None else begun.painter
    if begun and painter and isinstance(begun.vision, VisionTokenizer):
        painter.follow(begun.vision, load_tokenizer(folder))
    return painter


def _pack(folder: Path, recipe: Recipe, device: str, report) -> None:
    """Fold the averaged weights into a checkpoint and add the recipe, logs and curves."""
    checkpoint, target = replace(_unpainted(folder, recipe), painter=_newest_painter(folder)), folder / "checkpoint"
    save_checkpoint(checkpoint, target)
    write_text_whole(target / "recipe.json", json.dumps(asdict(recipe), indent=1))
    for name in ("tokenizer", "depth", "world", "painter", "dream", "guide", "finish"):
        for file in ("log.csv", "curve.png"):
            if (folder / name / file).exists():
                shutil.copy(folder / name / file, target / f"{name}-{file}")


def _unpainted(folder: Path, recipe: Recipe) -> Checkpoint:
    """The newest weights of a run, without a painter: those of `guide`, else those of the dream, else those that it
    began with."""
    trainer, text = make_trainer(folder, recipe), TextTokenizer()
    dida, guided = recipe.dida, read_state(folder / "guide")
    if guided is not None:
        dida = replace(dida, dream_guidance=1.0)
    if (dreamt := guided or read_state(folder / "dream")) is not None:
        trainer.load_state_dict(dreamt["average"])
        model = trainer.exported()
    elif (begun := _begun(folder)) is not None:
        model, dida = begun.model, replace(dida, dream_guidance=begun.dida.dream_guidance)
    else:
        trainer.load_state_dict(_state(folder / "world")["average"])
        model = trainer.exported()
    vision, vocabulary = trainer.vision, trainer.vocabulary
    return Checkpoint(model, vision, text, vocabulary, recipe.layout, dida, depth=load_refiner(folder, recipe))


_RUN = {
    "record": _record,
    "tokenizer": _tokenizer,
    "depth": _depth,
    "canvases": _canvases,
    "world": _world,
    "keyframes": _keyframes,
    "dream": _dream,
    "guide": _guide,
    "painter": _painter,
    "dreams": _dreams,
    "finish": _finish,
    "pack": _pack,
}


def make_trainer(folder: Path, recipe: Recipe) -> WorldTrainer:
    text = TextTokenizer()
    vision = load_tokenizer(folder)
    vocabulary = Vocabulary(text.size, vision.config.num_codes)
    torch.manual_seed(recipe.world.seed)
    model = replace(recipe.model, vocab_size=vocabulary.size)
    return WorldTrainer(model, recipe.layout, recipe.dida, vocabulary, vision)


def load_tokenizer(folder: Path) -> VisionTokenizer:
    """The averaged tokenizer of a run, its weights rounded to the float16 that ships, so that all later stages and
    every user see the same codes; if the run has trained none, that of the model that it began with."""
    if (begun := _begun(folder)) is not None and not has_state(folder / "tokenizer"):
        vision = begun.vision
        assert isinstance(vision, VisionTokenizer), "a folder of ours has our tokenizer"
        return vision
    return _averaged(folder / "tokenizer", VisionTokenizer, VisionConfig)


def load_refiner(folder: Path, recipe: Recipe) -> DepthRefiner | None:
    """The averaged depth refiner of a run, rounded as it ships, or that of the model that it began with; None if there
    is none, because its recordings or its first model have no depth."""
    if (begun := _begun(folder)) is not None and not has_state(folder / "depth"):
        return begun.depth
    if recipe.data and "depth" not in stages_for(recipe.data):
        return None
    return _averaged(folder / "depth", DepthRefiner, DepthConfig)


def _averaged(folder: Path, kind: type, config: type):
    state = _state(folder)
    module = kind(config_from(config, state["config"]))
    module.load_state_dict({name: value.half().float() for name, value in state["average"].items()})
    return module.to(memory_format=torch.channels_last).eval().requires_grad_(False)


def _load(folder: Path, split: str) -> Canvases:
    return load_canvases(folder / f"canvases-{split}.safetensors")


def _state(folder: Path) -> dict:
    state = read_state(folder)
    if state is None:
        raise FileNotFoundError(f"no state in {folder}; run the stage '{folder.name}' first")
    return state
