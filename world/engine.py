"""Weights, a cache pool and batching: runs the passes of one or many sessions. Knows nothing of sockets or windows.

A step is: prefill the words, denoise the canvas over frozen pages, decode; then, after the frame has been shown, one
causal commit pass writes the frame's keys and values.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from ..kernels.device import device_named, leave_a_core
from .action import Action, say
from .checkpoint import Checkpoint, CheckpointError, is_official, load_checkpoint
from .config import DidaConfig
from .dreamer import SPECK, Asked, Dream, Dreamer, DreamStopped, strides_ahead, without_specks
from .frame import Frame, Timing
from .frame_codec import FrameCodec
from .pose import Camera, Pose
from .saves.snapshot import load_session, save_changes, save_session
from .session import NUM_VIEWS, REWIND_LIMIT, Keyframe, Moment, Plan, Prepared, Session, view_index
from .side_by_side import SideBySide
from .spatial.view_memory import ViewMemory
from .spatial.warp import View, Warp, is_known, remembered, warp
from .stepping.elsewhere import plan_elsewhere
from .stepping.seeds import mix, seed_of
from .stepping.whole_frames import WholeFrames, codes_of, numbers_of
from .tokens.vision import VisionTokenizer
from .transformer.cache import KVCache
from .transformer.dida import MetricPath
from .transformer.passes import Passes, Serving


class Engine:
    """One world model, ready to dream: `engine.session(first_frame)`, then `session.step(action)`."""

    # what each says is in SessionEngine
    rewind_limit, num_pinned = REWIND_LIMIT, 0
    saves_changes, reads_words = True, False

    def __init__(self, checkpoint: Checkpoint, *, dida: DidaConfig | None = None, serving: Serving | None = None):
        """serving: how the weights are run; the checkpoint itself is not changed. Raises ValueError for weights
        whose sizes fp8 products do not allow."""
        self.checkpoint, self.serving = checkpoint, serving or Serving()
        vision = checkpoint.vision
        if not isinstance(vision, VisionTokenizer):
            raise CheckpointError("an official checkpoint where one of ours is wanted: EmuEngine is what runs it")
        self.text, self.layout, self.vocabulary = checkpoint.text, checkpoint.layout, checkpoint.vocabulary
        self.dida = dida or checkpoint.dida
        self.device = checkpoint.model.lm_head.weight.device
        self.gains_together = self.device.type != "cpu"
        self.precision = self.serving.precision_on(self.device)
        self.model = checkpoint.model.served(self.precision)
        dtype = self.model.lm_head.weight.dtype
        refiner = None if checkpoint.depth is None else checkpoint.depth.served(dtype)
        self.vision = vision.served(dtype)
        self.codec = FrameCodec(self.vision, refiner, detail_tolerance=self.dida.detail_tolerance)
        self.cache = KVCache(self.model.config, self.layout, device=self.device, dtype=dtype)
        self.path = MetricPath(self.vision.codebook, self.dida)
        self.passes = Passes(
            self.model, self.cache, self.path, self.layout, self.vocabulary, guidance=self.serving.guidance
        )
        self.whole_frames = WholeFrames(self.passes, self.codec, sampler=self.serving.sampler)
        self.side_by_side = SideBySide()
        self.dreamer: Dreamer | None = None
        if checkpoint.painter is not None:
            self.dreamer = Dreamer(self.passes, self.vision, checkpoint.painter.served(dtype), self.dida)

    @classmethod
    def from_checkpoint(
        cls,
        folder: str | Path | None = None,
        *,
        device: str | None = None,
        dida: DidaConfig | None = None,
        serving: Serving | None = None,
        dream_steps: int | None = None,
        dream_temperature: float | None = None,
    ) -> Engine:
        """Load a checkpoint folder, or the embedded one, onto a device: CUDA if there is one, unless told otherwise.
        Official Emu3.5 folders are opened by `opening.open_engine`, which accepts these as well.

        On a CPU, torch gets one core fewer than there are, and the last is left for whoever shows the frames: a step
        that waits for a busy core takes ten times as long. dream_steps and dream_temperature: in how many steps, and
        how freely, unseen places are dreamt; None keeps the value of the checkpoint or of dida. Raises CheckpointError
        for a folder that cannot be used, and for steps or a temperature of dreams if the model has no painter.
        """
        if folder is not None and is_official(folder):
            raise CheckpointError(f"{folder} is an official model: open it with roam.world.opening.open_engine")
        device = device_named(device or available_device())
        if torch.device(device).type == "cpu":
            leave_a_core()
        checkpoint = load_checkpoint(folder, device=device)
        if checkpoint.painter is None:
            check_no_dreams(dream_steps, dream_temperature)
        dida = dida or checkpoint.dida
        steps = dida.dream_steps if dream_steps is None else dream_steps
        temperature = dida.dream_temperature if dream_temperature is None else dream_temperature
        dida = replace(dida, dream_steps=steps, dream_temperature=temperature)
        return cls(checkpoint, dida=dida, serving=serving)

    @property
    def _dreamer(self) -> Dreamer:
        assert self.dreamer is not None, "asked only where there is a painter"
        return self.dreamer

    @property
    def dreams_anew(self) -> bool:
        """Whether holes are dreamt separately, with a painter, so that `dream_anew` can draw them with another seed."""
        return self.dreamer is not None

    def session(
        self,
        first: Frame | np.ndarray | None = None,
        *,
        words: str = "",
        seed: int = 0,
        start: str = "auto",
        decoder: str | None = None,
        solid: bool = False,
        seen: np.ndarray | None = None,
        photograph: bool = False,
    ) -> Session:
        """A walk that begins at a frame, or at pixels (H, W, 3) uint8 of unknown place, which becomes the origin.
        solid: whether seen surfaces stop steps; without it the pose is always where the action says. seen (H, W)
        bool: where the first frame is known, if not everywhere; the rest is dreamt at once. photograph: whether its
        depth differs from the training data, and is smoothed where the model is unsure of it (tokens/doubt.py).
        decoder: as in Session, "dida" by default. Raises ValueError for words, and for a partly known frame if there
        is no painter."""
        if words or first is None:
            raise ValueError("this model begins with a frame or an image; it reads no words at the start")
        if seen is not None and not self.dreams_anew:
            raise ValueError("a first frame that is known in part; this model has no painter to dream the rest")
        if not isinstance(first, Frame):
            first = Frame(0, np.asarray(first), pose=Pose.at(0, 0, 1.5))
        grid, pixels, depth = self.codec.taken_in(first.pixels, None if photograph else first.pose, photograph)
        camera, page = Camera(self.frame_side, self.frame_side), self.cache.allocate()
        if seen is not None:
            known, pose = Warp(pixels, np.asarray(seen, bool), depth), first.pose or Pose.at(0, 0, 1.5)
            with torch.inference_mode():
                dream = self._dreamer.dream([Asked(pose, known, (), (), page, 0, mix(seed, 0, 0))])[0]
            pixels, depth, grid = dream.view.pixels, dream.view.depth, dream.tokens
        frame = Frame(0, pixels, grid, depth, first.pose)
        memory = ViewMemory(camera)
        if first.pose is not None:
            # a view with guessed parts counts as dreamt: its textures are not continued elsewhere (ViewMemory.whole)
            fresh = np.ones(depth.shape, bool) if photograph or seen is not None else None
            memory = memory.with_view(view_index(0), View(pixels, depth, first.pose, fresh))
        moment = Moment(frame, (Keyframe(page, 0, grid),), memory)
        return Session(
            self, [moment], [], seed=seed, start=start, decoder=decoder or "dida", is_solid=solid, is_committed=False
        )

    @property
    def frame_side(self) -> int:
        """Pixels a side of a frame."""
        return self.vision.config.size

    @property
    def num_kept(self) -> int:
        """Moments before the newest that a session keeps, those that can be rewound to; each holds what it sees."""
        return self.rewind_limit

    def save_session(self, session: Session, path: str | Path) -> None:
        """Write a session's complete state; see saves/snapshot.py."""
        save_session(session, path)

    def save_changes(self, session: Session, path: str | Path, before: Session) -> bool:
        """Write what has changed in a session since it was saved; see saves/snapshot.py."""
        return save_changes(session, path, before)

    def load_session(self, path: str | Path, *changes: str | Path) -> Session:
        """Continue from what `Session.save` wrote, and `Session.save_changes` after it. Raises SnapshotError for a
        file that is incomplete, of other weights, or does not follow the one before."""
        return load_session(self, path, *changes)

    @torch.inference_mode()
    def step_many(self, sessions: Sequence[Session], actions: Sequence[Action]) -> list[Frame]:
        """One step of each session in shared passes: the same frames as each alone."""
        clock = _Clock()
        plans = self.side_by_side.map(_planned, list(zip(sessions, actions, strict=True)))
        warp_ms = clock.lap_ms()
        if len({session.decoder for session in sessions}) > 1:
            raise ValueError("sessions with different decoders cannot be stepped together")
        walks = list(zip(sessions, actions, plans, strict=True))
        groups: dict[Callable[..., list[Frame]], list[Step]] = {}
        for walk in walks:
            groups.setdefault(self._way_of(walk), []).append(walk)
        frames: dict[int, Frame] = {}
        for draw, group in groups.items():
            made = draw(group, clock, warp_ms)
            frames |= {id(session): frame for (session, _, _), frame in zip(group, made, strict=True)}
        return [frames[id(session)] for session in sessions]

    def _way_of(self, walk: Step) -> Callable[..., list[Frame]]:
        """How a step is taken."""
        session, action, plan = walk
        if action.at is not None:
            return self._dream_elsewhere
        is_drawn = self.dreamer is not None and session.decoder == "dida" and plan.carried is not None
        return self._imagine if is_drawn else self._redraw

    def _dream_elsewhere(self, walks: Sequence[Step], clock: _Clock, warp_ms: float) -> list[Frame]:
        """Steps that dream what is unknown from another pose and remember it. The current frame stays as it is."""
        open_ = [k for k, (_, _, plan) in enumerate(walks) if self._is_open(plan.there[1])]
        self.settle([walks[k][0] for k in open_])
        commit_ms, pages = clock.lap_ms(), [self.cache.allocate() for _ in open_]
        asked = [
            self._asked(walks[k][0], *walks[k][2].there, walks[k][2].text, page, 0)
            for k, page in zip(open_, pages, strict=True)
        ]
        dreams = dict(zip(open_, self._dreamer.dream(asked), strict=True))
        made, frames = dict(zip(open_, pages, strict=True)), []
        for k, (session, action, plan) in enumerate(walks):
            if k not in dreams and plan.there[1].open > SPECK:
                dreams[k] = self._dreamer.touch_up(*plan.there, seed_of(session, 0), session.memory.telling)
            index, memory, keyframe = session.frame.index + 1, session.memory, None
            if k in dreams:
                memory = memory.with_view(view_index(index, is_ahead=True), dreams[k].view)
            if k in made:
                keyframe = Keyframe(made[k], session.keyframes[-1].number + 1, dreams[k].tokens)
            frame = replace(session.frame, index=index, timing=Timing(warp_ms, clock.lap_ms(), 0.0, commit_ms))
            session.accept(action, frame, keyframe, memory)
            frames.append(frame)
        return frames

    def _imagine(self, walks: Sequence[Step], clock: _Clock, warp_ms: float) -> list[Frame]:
        """Steps of sessions that carry views. Pixels that were seen before are shown unchanged. If a step opens a
        hole that is large enough for objects, its keyframe is dreamt first; holes that the keyframe leaves open are
        dreamt at the step's own pose. A step that opens no hole runs no network; one that opens only rims of objects
        runs only the painter."""
        states = [_Imagined(session, session.memory, plan.there[1]) for session, _, plan in walks]
        ahead = [k for k, (_, _, plan) in enumerate(walks) if self._is_open(plan.there[1])]
        self.settle([walks[k][0] for k in ahead])
        commit_ms = clock.lap_ms()
        for k, prepared in zip(ahead, self._keyframes([walks[k] for k in ahead]), strict=True):
            session, _, plan = walks[k]
            states[k] = self._with_keyframe(states[k], plan, prepared)
        left = [k for k in ahead if states[k].shown is None and self._is_open(states[k].carried)]
        scratch = [self.cache.allocate() for _ in left]
        asked = [
            self._asked(walks[k][0], walks[k][2].there[0], states[k].carried, walks[k][2].text, page, 1)
            for k, page in zip(left, scratch, strict=True)
        ]
        dreams = dict(zip(left, self._dreamer.dream(asked), strict=True))
        for page in scratch:
            self.cache.pool.release(page)
        for k, ((session, _, plan), state) in enumerate(zip(walks, states, strict=True)):
            if state.shown is None and k not in dreams and state.carried.open > SPECK:
                at, whole = plan.there[0], session.memory.telling
                dreams[k] = self._dreamer.touch_up(at, state.carried, seed_of(session, 1), whole)
            if k in dreams:
                state.shown = dreams[k]
                state.memory = state.memory.with_view(view_index(session.frame.index + 1), dreams[k].view)
        denoise_ms, frames = clock.lap_ms(), []
        for (session, action, plan), state in zip(walks, states, strict=True):
            if state.shown is None:
                seen = without_specks(state.carried)
                pixels, depth, tokens = seen.pixels, seen.depth.astype(np.float16).astype(np.float32), None
            else:
                view, tokens = state.shown.view, state.shown.tokens
                pixels, depth = view.pixels, view.depth
            timing = Timing(warp_ms, denoise_ms, clock.lap_ms(), commit_ms)
            frame = Frame(session.frame.index + 1, pixels, tokens, depth, plan.pose, timing)
            session.accept(action, frame, state.keyframe, state.memory)
            frames.append(frame)
        return frames

    @torch.inference_mode()
    def prepare(self, session: Session, action: Action, *, stop: Callable[[], bool] | None = None) -> None:
        """Dream now what a step by `action` would have to dream first; see Session.prepare."""
        if self.dreamer is None or session.decoder != "dida":
            return
        plan = session.plan(action)
        if plan.carried is not None and self._is_open(plan.carried):
            self.settle([session])
            with contextlib.suppress(DreamStopped):
                session.keep_prepared(self._keyframes([(session, action, plan)], stop=stop)[0])

    def _is_open(self, carried: Warp) -> bool:
        """Whether a view has room for objects that nobody has seen."""
        return carried.room > SPECK and not self._dreamer.is_decided(carried)

    def _keyframes(self, walks: Sequence[Step], *, stop: Callable[[], bool] | None = None) -> list[Prepared]:
        """The keyframe that each step leads to: the one that `prepare` made, or one that is dreamt now."""
        made = [session.take_prepared(action) for session, action, _ in walks]
        missing = [k for k, prepared in enumerate(made) if prepared is None]
        pages = [self.cache.allocate() for _ in missing]
        asked = [self._asked_ahead(*walks[k], page) for k, page in zip(missing, pages, strict=True)]
        try:
            dreams = self._dreamer.dream(asked, stop=stop)
        except DreamStopped:
            for page in pages:
                self.cache.pool.release(page)
            raise
        for k, page, dream in zip(missing, pages, dreams, strict=True):
            made[k] = Prepared(walks[k][1], page, dream)
        return [prepared for prepared in made if prepared is not None]

    def _asked_ahead(self, session: Session, action: Action, plan: Plan, page: int) -> Asked:
        count, here = strides_ahead(action.known_motion), session.frame.pose
        if count == 1 or here is None:
            return self._asked(session, *plan.there, plan.text, page, 0)
        motion = action.known_motion.scaled(count)
        pose = session.walked(here, motion)
        carried = session.memory.carried(pose, NUM_VIEWS)
        words = tuple(self.text.encode(say(motion)))[: self.layout.text_capacity]
        return self._asked(session, pose, carried, words, page, 0)

    def _asked(self, session: Session, pose: Pose, carried: Warp, words: tuple[int, ...], page: int, use: int) -> Asked:
        number, seed = session.keyframes[-1].number + 1, seed_of(session, use)
        past = () if carried.has_new_horizon else tuple(session.history())
        return Asked(pose, carried, words, past, page, number, seed, session.memory.telling)

    def _with_keyframe(self, state: _Imagined, plan: Plan, prepared: Prepared) -> _Imagined:
        session, dream = state.session, prepared.dream
        keyframe = Keyframe(prepared.page, session.keyframes[-1].number + 1, dream.tokens)
        index, is_here = session.frame.index + 1, dream.view.pose == plan.pose
        memory = state.memory.with_view(view_index(index, is_ahead=not is_here), dream.view)
        if is_here:
            return _Imagined(session, memory, state.carried, keyframe, dream)
        carried = memory.carried(plan.there[0], NUM_VIEWS)
        return _Imagined(session, memory, carried, keyframe)

    def _redraw(self, walks: Sequence[Step], clock: _Clock, warp_ms: float) -> list[Frame]:
        """Steps that decode a whole frame: if no view can be carried, without a painter, or with another decoder."""
        sessions = [session for session, _, _ in walks]
        plans = [self.whole_frames.with_codes(plan) for _, _, plan in walks]
        warp_ms += clock.lap_ms()
        self.settle(sessions)
        commit_ms = clock.lap_ms()
        pages = [self.cache.allocate() for _ in sessions]
        tokens = self.whole_frames.decode(sessions[0].decoder, sessions, plans, pages)
        denoise_ms = clock.lap_ms()
        frames = []
        for b, ((session, action, _), plan) in enumerate(zip(walks, plans, strict=True)):
            pixels, depth = self.codec.decoded(tokens[b : b + 1])
            # words without a motion leave the pose unknown, so their frame is not remembered and overwrites nothing
            fresh = np.zeros(depth.shape, bool) if action.motion is None else None
            if plan.carried is not None and self.dida.detail_tolerance:
                assert plan.codes is not None, "a carried view has codes by then"
                carried = plan.carried
                pixels, kept = self.codec.with_detail(pixels, tokens[b], carried.pixels, carried.covered, plan.codes[0])
                if (~kept).mean() > SPECK:
                    depth = self.codec.refined(pixels, depth)
                view = remembered(pixels, depth, *plan.there, kept)
                depth, fresh = view.depth, view.fresh
            else:
                depth = self.codec.refined(pixels, depth)
            grid = self.codec.grid(tokens[b])
            timing = Timing(warp_ms, denoise_ms, clock.lap_ms(), commit_ms)
            frame = Frame(session.frame.index + 1, pixels, grid, depth, plan.pose, timing)
            keyframe = Keyframe(pages[b], session.keyframes[-1].number + 1, grid)
            session.accept(action, frame, keyframe, session.remembering(frame, fresh))
            frames.append(frame)
        return frames

    @torch.inference_mode()
    def observe(self, session: Session, action: Action, pixels: np.ndarray, pose: Pose | None = None) -> Frame:
        """Add a true frame to a session's history, instead of the one that `step` would dream."""
        plan = session.plan(action)
        session.settle()
        page = self.cache.allocate()
        self.whole_frames.prefill([session], [plan], [page])
        pose, fresh = pose or plan.pose, None
        grid, shown, depth = self.codec.taken_in(pixels, pose)
        if pose is not None and len(session.memory):
            known = warp(session.memory.choose(pose, NUM_VIEWS), pose, session.camera)
            fresh = np.zeros_like(known.covered) if is_known(shown, known) else None
        frame = Frame(session.frame.index + 1, shown, grid, depth, pose)
        keyframe = Keyframe(page, session.keyframes[-1].number + 1, grid)
        session.accept(action, frame, keyframe, session.remembering(frame, fresh))
        return frame

    @torch.inference_mode()
    def settle(self, sessions: Sequence[Session]) -> None:
        """Commit: one causal pass over the newest keyframe of every session whose keyframe has none yet."""
        waiting = [session for session in sessions if not session.is_committed]
        if not waiting:
            return
        tokens = torch.stack([codes_of(session.keyframes[-1].tokens) for session in waiting]).to(self.device)
        past = [session.pages[-self.layout.window - 1 : -1] for session in waiting]
        self.passes.commit(
            tokens, numbers_of(waiting, 0, self.device), past, [session.pages[-1] for session in waiting]
        )
        for session in waiting:
            session.settled()

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (H, W, 3) uint8 as a token grid (h, w) int32."""
        return self.codec.grid(self.codec.codes(pixels[None])[0])

    def show(self, tokens: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """A token grid (h, w) as pixels (H, W, 3) uint8 and depth (H, W) float32 metres."""
        pixels, depth = self.codec.decoded(torch.from_numpy(tokens.astype(np.int64)).to(self.device))
        return pixels, self.codec.refined(pixels, depth)


def available_device() -> str:
    """CUDA if there is a device for it, else the CPU."""
    return "cuda" if torch.cuda.is_available() else "cpu"


def check_no_dreams(steps: int | None, temperature: float | None) -> None:
    """Raise CheckpointError if dreams are configured for a model without a painter."""
    if steps is not None or temperature is not None:
        raise CheckpointError(
            "this model has no painter and dreams nothing apart, so steps and a temperature of dreams would change "
            "nothing: leave them out"
        )


@dataclass
class _Imagined:
    """A step in progress: what is remembered and what that shows at the step's pose; the keyframe that it made; the
    dream that is shown, None if the carried view is."""

    session: Session
    memory: ViewMemory
    carried: Warp
    keyframe: Keyframe | None = None
    shown: Dream | None = None


Step = tuple[Session, Action, Plan]  # a session, its action, and where that leads


def _planned(step: tuple[Session, Action]) -> Plan:
    session, action = step
    return session.plan(action) if action.at is None else plan_elsewhere(session, action.at)


class _Clock:
    def __init__(self):
        self._then = time.perf_counter()

    def lap_ms(self) -> float:
        now = time.perf_counter()
        lap, self._then = (now - self._then) * 1e3, now
        return lap
