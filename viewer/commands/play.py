"""What `roam play`, `roam replay` and `roam record` do after their options are read: walk, record, report."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from itertools import cycle, islice
from pathlib import Path

from ...world.frame import HasCamera
from ...world.options import DreamOptions, OfficialOptions
from ..files.outputs import OutputError, fresh
from ..files.paths import folder_to_write
from ..opening.start import Opener, Place, Start, StartError
from ..opening.starting import without_collecting
from ..play.action_log import LogError, load_log, replay
from ..play.keymap import Keymap, load_keymap
from ..play.map3d import Map3D, read_points
from ..play.open3d_loading import check_open3d
from ..play.player import Player
from ..play.progress import counted, waiting
from ..play.recording import recording_path
from ..play.script import Deed, load_script
from ..play.stopping import Stopping
from ..play.tour import STEPS, outings, tour
from ..play.video import VideoRecorder

OPENING = "opening the world; the first time, what it needs is compiled, which takes up to a minute"


@dataclass(frozen=True)
class Order:
    """The options of the command line. frames counts the first frame; record: a video to write, or None; official:
    what an official model needs besides its folder; dreams: how unseen places are dreamt, if that was given."""

    start: Start
    model: Path | None = None
    actions: Path | None = None
    frames: int | None = None
    record: Path | None = None
    out: Path = Path("roam-out")
    overwrite: bool = False
    is_mapped: bool = False
    official: OfficialOptions = field(default_factory=OfficialOptions)
    dreams: DreamOptions = field(default_factory=DreamOptions)

    def __post_init__(self):
        if self.official.given and self.start.text:
            from ...world.emu.text import controls_in

            if found := controls_in(self.start.text):
                raise StartError(f"--text contains the control token '{found[0]}'; write it without")
        if self.dreams.given and self.start.truth:
            raise StartError("a true scene is not dreamt: leave out --steps, --temperature or --truth")
        if self.start.truth and (self.model or self.official.given):
            raise StartError("a true scene needs no model: leave out --truth, or --model and what is said of it")

    @property
    def opener(self) -> Opener:
        return Opener(self.model, dreams=self.dreams, official=self.official, say=print)

    @property
    def _is_free(self) -> bool:
        """Whether the world may accept any words."""
        return bool(self.official.given) or (self.start.world or "").startswith("gym:")

    def check_outputs(self, *, is_recorded: bool) -> None:
        """Before a world is opened, which takes long. is_recorded: also if no video is named. Raises OutputError."""
        if self.record:
            recording_path(self.record, overwrite=self.overwrite)
        elif is_recorded:
            folder_to_write(self.out)

    def script(self) -> list[Deed] | None:
        """The actions of the file, if there is one."""
        return load_script(self.actions, is_free=self._is_free) if self.actions else None


def play_headless(order: Order) -> None:
    """Walk a script, or a tour if there is none; write a video of it and print where and how fast."""
    if order.is_mapped:
        check_open3d()
    script = order.script()
    order.check_outputs(is_recorded=True)
    with waiting(OPENING), without_collecting():
        player = Player(order.opener, order.start, folder=order.out)
    if player.place.note:
        print(player.place.note)
    actions = _to_walk(player.place, script, order.frames)
    video = player.record(order.record, overwrite=order.overwrite)
    grown = _map(player) if order.is_mapped else None
    gif = None if order.record else VideoRecorder(video.with_suffix(".gif"))
    chart, stop = None, Stopping()
    try:
        with stop:
            seconds = _walk(player, actions, gif, stop)
    finally:  # what was walked is kept, even if the walk could not be finished
        is_kept = player.is_recording
        player.close()
        written = [path for path in (video, video.with_suffix(".jsonl")) if path.exists()]
        try:
            written += [gif.close()] if gif else []
        finally:
            chart = grown.close() if grown else None
    if not is_kept or not video.exists():
        raise OutputError(player.notes[-1])
    walked = len(player.branch.events)
    rate = f", {walked / seconds:.1f} frames/s" if walked else ""
    print(f"walked {walked + 1} frames of {player.place.start}{rate}")
    print("wrote " + ", ".join(map(str, written)))
    if chart:
        print(_told(chart, player.place))
    stop.leave()


def play_in_window(order: Order, *, keys: Path | None, scale: int) -> None:
    """Open the window and walk until it is closed; with --frames or --actions the walk goes by itself."""
    from ..window.window import Window

    if order.is_mapped:
        check_open3d()
    script = order.script()
    keymap = load_keymap(keys) if keys else Keymap()
    order.check_outputs(is_recorded=False)
    with waiting(OPENING), without_collecting():
        player = Player(order.opener, order.start, keymap=keymap, folder=order.out)
    if player.place.note:
        player.notes.append(player.place.note)
    if script or order.frames:
        player.queue(_to_walk(player.place, script, order.frames))
    if order.record:
        player.record(order.record, overwrite=order.overwrite)
    window = Window(player, scale=scale)
    mapped, grown = player.place, _map(player) if order.is_mapped else None
    stop = Stopping()
    try:
        with stop:
            window.run(until_idle=bool(order.frames), stop=lambda: stop.is_asked)
    finally:
        player.close()
        window.close()
        if chart := grown.close() if grown else None:
            player.notes.append(_told(chart, mapped))
    for note in player.notes:
        print(note)
    stop.leave()


def replay_log(path: Path, model: Path | None, official: OfficialOptions) -> bool:
    """Walk a log again and say whether every digest is the same."""
    log = load_log(path)
    with waiting(OPENING), without_collecting():
        opener = Opener(model or log.model, dreams=log.dreams, official=official, say=print)
        explorer = opener.open(Start.from_dict(log.start)).explorer
    try:
        for number, (then, now) in enumerate(counted(replay(explorer, log), "replayed", len(log.events) + 1)):
            if then != now:
                print(f"line {number + 1} of {path} differs: digest {then} then, {now} now")
                return False
    except StartError:
        raise
    except ValueError as error:
        raise LogError(f"{path}: what it tells cannot be done again: {error}") from error
    finally:
        explorer.close()
    print(f"replayed {len(log.events) + 1} frames of {path}: every digest is the same")
    return True


def _to_walk(place: Place, script: list[Deed] | None, frames: int | None) -> list[Deed]:
    """The script, or else a tour, cut or repeated to so many frames; the first frame needs no action."""
    steps = None if frames is None else frames - 1
    if script is None:
        pose = place.explorer.frame.pose
        if pose is None:
            raise StartError("this world does not know where it is, so no tour can be planned: give --actions FILE")
        plan = tour if place.start.truth else outings
        steps = STEPS if steps is None else steps
        return list(counted(plan(pose, steps, walked=place.walked), "planning the walk, step", steps))
    return script if steps is None else list(islice(cycle(script), steps))


def _map(player: Player) -> Map3D:
    """Begin a map of the current world, which grows with the player's frames; other worlds are not added to it."""
    explorer, here = player.place.explorer, player.place
    if player.frame.depth is None:
        raise StartError("this world's frames have no depth, so no map can be grown: leave out --map")
    camera = explorer.camera if isinstance(explorer, HasCamera) else None
    grown = Map3D(fresh(player.folder, "map", ".ply"), camera=camera)
    grown.show(player.frame)
    player.watch = lambda place, frame: grown.show(frame) if place is here else None
    return grown


def _told(chart: Path, place: Place) -> str:
    """What the map of that place came to and, if the truth is known, how close the map is to it."""
    from .surfaces import told

    return f"saved the map {chart}" + (f": {told(read_points(chart), place.scene)}" if place.scene else "")


def _walk(player: Player, actions: list[Deed], gif: VideoRecorder | None, stop: Stopping) -> float:
    """Walk all the actions, or until somebody asks to stop, and return how many seconds it took."""
    if gif:
        gif.add(player.frame.pixels)
    began = time.perf_counter()
    player.queue(actions)
    for _ in counted(actions, "walked", len(actions)):
        frame = player.step()
        if frame is None:
            raise StartError(player.notes[-1])
        if stop.is_asked:
            break
        if gif:
            gif.add(frame.pixels)
    return time.perf_counter() - began
