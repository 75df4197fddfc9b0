"""`roam data check`: what is in a folder of recordings or footage, what is missing, what was done, and sample
frames."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import numpy as np

from ..files.outputs import fresh, write_whole
from ..files.pictures import png_of

_COLUMNS, _ROWS = 8, 4
_SHOWN = 12  # actions of the histogram
_BAR = 40


def check(folder: Path, out: Path, step_s: float) -> bool:
    """Print the contents and write a contact sheet; returns whether nothing is missing or wrong."""
    if any(folder.glob("*.safetensors")):
        faults, actions, frames = _recordings(folder)
    else:
        faults, actions, frames = _footage(folder, step_s)
    _histogram(actions)
    if frames:
        print(f"wrote {_sheet(frames, out, folder)}")
    for fault in faults:
        print(f"missing or wrong: {fault}")
    return not faults


def _recordings(folder: Path) -> tuple[list[str], Counter, list[np.ndarray]]:
    from ...scenes.recorder import load_recording
    from ...scenes.recording.manifest import read_manifest
    from ...scenes.scene import SceneError
    from ...world.files import sha256

    manifest, faults, actions, frames = read_manifest(folder), [], Counter[str](), []
    if manifest is None:
        faults.append("no manifest.json: where the frames are from is not known")
    else:
        print(
            f"{manifest.about}; licence: {manifest.licence}; camera {manifest.camera[0]}x{manifest.camera[1]}, "
            f"{manifest.camera[2]:g} degrees; {manifest.frames} frames a walk"
        )
        for split, worlds in manifest.splits.items():
            walks = sum(note.rollouts for note in manifest.files.values() if note.split == split)
            print(f"{split}: {walks} walks through {len(worlds)} worlds")
        faults += [f"{name} is gone" for name in manifest.files if not (folder / name).exists()]
    for path in sorted(folder.glob("*.safetensors")):
        try:
            held = load_recording(path)
        except SceneError as error:
            faults.append(str(error))
            continue
        note = manifest.files.get(path.name) if manifest else None
        if note is not None and note.sha256 != sha256(path):
            faults.append(f"{path.name} is not what was recorded: its hash has changed")
        faults += [f"{path.name} has no {what}" for what in ("depth", "poses") if getattr(held, what) is None]
        actions.update(action.text for walk in held.actions for action in walk)
        frames += [np.array(held.pixels[0, 0]), np.array(held.pixels[-1, -1])]
    return faults, actions, frames


def _footage(folder: Path, step_s: float) -> tuple[list[str], Counter, list[np.ndarray]]:
    from ...scenes.recording.footage import frames_at, read_clip, splits_of, videos
    from ...scenes.scene import SceneError
    from ...world.pose import Camera

    faults, actions, frames = [], Counter[str](), []
    for path in videos(folder):
        try:
            clip = read_clip(path)
        except SceneError as error:
            faults.append(str(error))
            continue
        times = np.arange(0, clip.seconds - 1e-6, step_s)
        done = [clip.action(t, t + step_s) for t in times]
        without = sum(action is None for action in done) / max(1, len(done))
        poses = sum(clip.pose(t, step_s / 2) is not None for t in times) / max(1, len(times))
        print(
            f"{path.name}: {clip.seconds:.1f} s at {clip.fps:.3g} frames a second, {clip.size[0]}x{clip.size[1]}; "
            f"{len(times)} steps, {without:.0%} of them without an action, {poses:.0%} with a pose"
        )
        if without:
            faults.append(f"{path.name}: {without:.0%} of its steps have no action, and are left out")
        actions.update(action.text for action in done if action is not None)
        frames += list(frames_at(clip, [clip.seconds * k / 4 for k in range(4)], Camera(), "letterbox"))
    for split, held in splits_of(folder).items():
        print(f"{split}: {len(held)} videos")
    return faults, actions, frames


def _histogram(actions: Counter) -> None:
    total = sum(actions.values())
    for text, count in actions.most_common(_SHOWN):
        print(f"{count / total:6.1%} {'#' * max(1, round(_BAR * count / total))} {text}")
    if len(actions) > _SHOWN:
        print(f"and {len(actions) - _SHOWN} other actions")


def _sheet(frames: list[np.ndarray], out: Path, folder: Path) -> Path:
    from PIL import Image

    picks = [frames[k] for k in np.linspace(0, len(frames) - 1, min(len(frames), _COLUMNS * _ROWS)).astype(int)]
    height, width = picks[0].shape[:2]
    sheet = Image.new("RGB", (width * min(_COLUMNS, len(picks)), height * -(-len(picks) // _COLUMNS)))
    for k, frame in enumerate(picks):
        sheet.paste(Image.fromarray(frame), (k % _COLUMNS * width, k // _COLUMNS * height))
    path = fresh(out, f"sheet-{folder.name}", ".png")
    return write_whole(path, png_of(np.asarray(sheet)))
