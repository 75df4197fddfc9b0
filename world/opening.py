"""Chooses the engine that a folder of weights needs, and loads it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from .checkpoint import CheckpointError, folder_of, is_official
from .config import DidaConfig
from .emu.engine import EmuEngine
from .engine import Engine, available_device
from .options import DreamOptions, OfficialOptions
from .session import SessionEngine
from .transformer.passes import Serving


def open_engine(
    folder: str | Path | None = None,
    *,
    device: str | None = None,
    dida: DidaConfig | None = None,
    serving: Serving | None = None,
    dreams: DreamOptions | None = None,
    official: OfficialOptions | None = None,
    say: Callable[[str], None] | None = None,
) -> SessionEngine:
    """The engine of a checkpoint folder, of the embedded weights (None), or of an official Emu3.5 folder.

    dreams: how unseen places are dreamt, for an official model all its pictures; official: what that kind needs in
    addition; say: gets the plan of its memory before it is loaded. The rest: as in Engine.from_checkpoint. Raises
    CheckpointError for a folder that cannot be used, and for options of the other kind of model.
    """
    dreams, official = dreams or DreamOptions(), official or OfficialOptions()
    if folder is None or not is_official(folder):
        if official.given:
            named = folder or "the embedded model"
            if folder and official.vision and is_official(official.vision):
                raise CheckpointError(
                    f"{folder} is no language model, and {official.vision} is one: name them the other way round"
                )
            if not folder_of(folder).exists():
                raise CheckpointError(f"{folder} is not there; name a folder of weights, for none are downloaded")
            raise CheckpointError(f"{named} is no official model, which alone takes {official.given[0]}")
        return Engine.from_checkpoint(
            folder,
            device=device,
            dida=dida,
            serving=serving,
            dream_steps=dreams.dream_steps,
            dream_temperature=dreams.dream_temperature,
        )
    if serving is not None:
        raise CheckpointError(f"{folder} is an official model: name its precision among the official options")
    asked = {"steps": dreams.dream_steps, "temperature": dreams.dream_temperature, **official.preset}
    return EmuEngine.from_folders(
        folder,
        official.vision,
        text=official.text,
        device=device or available_device(),
        dida=dida,
        precision=official.precision,
        context=official.context,
        devices=official.devices or 1,
        offload=official.offload or 0,
        say=say,
        **{name: value for name, value in asked.items() if value is not None},
    )
