"""Explorations by an official model behind the Session of the embedded one: a direction in words, then a picture.

A step continues one conversation of the explore task: the direction, the model's thoughts, the picture. What a step
adds, in the branch that reads all and in the unconditional one, is a passage with pages of its own, so forks share and
rewinds drop whole passages. When the context is full, the oldest passages except the first, which describes the scene,
are no longer seen; positions continue, because rotary ones are relative. How turns are distinguished is not published
(prompts.py).
"""

from __future__ import annotations

import json
import logging
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import torch
from PIL import Image as PictureFile
from safetensors import SafetensorError, safe_open

from ..action import Action, ActionError
from ..checkpoint import Checkpoint, CheckpointError
from ..config import DidaConfig
from ..frame import Frame, Timing
from ..pose import Pose
from ..records import action_of, action_row, pose_of, pose_row
from ..saves.snapshot import SnapshotError, tensors_of, write_whole
from ..session import Session
from ..transformer.cache import KVCache
from .answer import AnswerWriter, Image, Request, Text
from .checkpoint import Need, free_bytes, load_official, parts_of
from .ibq import CELL
from .passage import Passage, Strand, cells_of, codes_of, moved, passage_of, passages_of
from .prompts import Preset, PromptError, decoder_of, exploration, preset
from .sequence import SMALLEST_SIDE, Format
from .settings import is_adapted, refuse_swapped
from .text import controls_in
from .token_stream import ContextFull, StreamPasses, TokenStream

if TYPE_CHECKING:
    from torch.distributed.device_mesh import DeviceMesh

log = logging.getLogger(__name__)

FORMAT = "1"
THOUGHT_LIMIT = 384  # tokens of words after which a step's picture begins
TURN_LIMIT = 256  # tokens of a direction
SCENE_LIMIT = 160  # assumed tokens of a scene's words; more are allowed if the context is long
SHARE = 5  # in a short context, words, a direction and the scene's words each get at most one part in so many
PLACE = "the place in the picture"
_ORIGIN = Pose.at(0, 0, 1.5)


class EmuEngine:
    """An official checkpoint, ready to explore: `engine.session(picture, words="a hall")`, then `session.step(action)`.

    preset: how pictures and words are drawn; max_pages: of the cache, which sessions share, by default what the device
    has memory for. The model reads an action's words; one that stands still ("wait") has none, and the model continues
    by itself.
    """

    reads_words, num_pinned = True, 1  # the first passage describes the scene, and is always seen
    saves_changes, gains_together = False, True  # whole saves are small; large weights are read once for all

    def __init__(self, checkpoint: Checkpoint, *, preset: Preset | None = None, max_pages: int | None = None):
        parts = parts_of(checkpoint)
        self.checkpoint, self.preset = checkpoint, preset or explore_preset()
        decoder_of(self.preset, is_adapted=checkpoint.is_adapted)
        if self.preset.image_guidance is not None:
            raise PromptError("walks are guided on two branches; leave the guidance by images out")
        self.model, self.vision, self.text = checkpoint.model, parts.vision, parts.text
        self.dida, self.pages, self.layout = checkpoint.dida, parts.pages, checkpoint.layout
        self.form = Format(parts.text, checkpoint.vocabulary)
        self.device = self.model.lm_head.weight.device
        self._fit_to_context()
        one_session = self.preset.num_branches * (-(-self.pages.context // self.pages.page_size) + self.num_kept + 2)
        # on a GPU the planned size is allocated at once, because growing needs the old and the new tensors together
        first = one_session if self.device.type == "cuda" else min(64, one_session)
        self.cache = KVCache(
            self.model.config, self.pages, device=self.device, num_pages=first, dtype=self.model.lm_head.weight.dtype
        )
        self.passes = StreamPasses(self.model, self.cache)
        free = free_bytes(str(self.device))
        room = one_session if free is None else free // 2 // self.cache.bytes_per_page
        self.cache.max_pages = max_pages or max(one_session, room)

    @classmethod
    def from_folders(
        cls,
        model: str | Path,
        vision: str | Path | None = None,
        *,
        text: str | Path | None = None,
        device: str = "cpu",
        dida: DidaConfig | None = None,
        precision: str | None = None,
        context: int | None = None,
        mesh: DeviceMesh | None = None,
        devices: int = 1,
        offload: int = 0,
        say: Callable[[str], None] | None = None,
        **changes,
    ) -> EmuEngine:
        """Load official folders (checkpoint.py). changes: fields of the preset (prompts.py), for instance the area of a
        frame, 720 x 720 pixels unless told otherwise. The memory plan goes through `say` first.

        Raises CheckpointError without a vision tokenizer, and the errors of load_official.
        """
        if vision is None:
            raise CheckpointError(f"{model} is an official model; name its vision tokenizer's folder as well")
        drawn = explore_preset(**changes)  # refuse what is impossible before minutes of loading
        refuse_swapped(model, vision)
        decoder_of(drawn, is_adapted=dida is not None or is_adapted(model))
        need = Need(streams=drawn.num_branches, area=drawn.area, spare=_kept(context or Need.longest, drawn.area) + 2)
        checkpoint = load_official(
            model,
            vision,
            text=text,
            device=device,
            precision=precision,
            context=context,
            mesh=mesh,
            devices=devices,
            offload=offload,
            need=need,
            served=True,
            say=say,
        )
        return cls(replace(checkpoint, dida=dida or checkpoint.dida), preset=drawn)

    dreams_anew = False  # every frame is drawn whole

    @property
    def frame_side(self) -> int:
        """Pixels a side of a square first frame; others keep their aspect, at the same area."""
        return round(self.preset.area**0.5)

    @property
    def rewind_limit(self) -> int:
        """Steps that can be undone: about as many as the context holds."""
        return _kept(self.pages.context, self.preset.area)

    @property
    def num_kept(self) -> int:
        """Passages before the newest, besides the first, that a session keeps."""
        return self.rewind_limit

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
        mode: str = "interactive",
    ) -> Session:
        """A walk that begins at a picture (H, W, 3) uint8 of any size, at words alone, or at a picture with words.

        mode: "interactive" or, if the model is to lead, "free" (prompts.py). decoder: as in a Preset, by default what
        the weights support. start, solid, photograph: as in Engine.session, without effect here. Raises PromptError for
        neither picture nor words, or an unknown mode, ContextFull for words too long to walk after them, and ValueError
        for a picture of which only a part is `seen`, because the model uses it whole.
        """
        if seen is not None:
            raise ValueError("a first frame that is known in part; this model takes a picture whole")
        if first is None and not words.strip():
            raise PromptError("a world needs words or a picture to begin with; say what is there")
        pixels = first.pixels if isinstance(first, Frame) else first
        images = () if pixels is None else (np.asarray(pixels),)
        question = exploration(words.strip() or PLACE, mode)
        request = Request("explore", question, images, self._preset(decoder), seed=seed)
        writer = AnswerWriter(self.checkpoint, request, passes=self.passes, largest=self._largest)
        try:
            self._check_room(writer)
            if images:
                codes = writer.grids[0].astype(np.int32)
                frame, said = Frame(0, self.show(codes)[0], codes), ""
            else:
                frame, said = self._drawn(writer, 0)
        except BaseException:
            writer.close()
            raise
        frame = replace(frame, pose=first.pose if isinstance(first, Frame) else _ORIGIN)
        decoder = writer.decoder
        return Session(
            self, [passage_of(frame, writer, said)], [], seed=seed, start=start, decoder=decoder, is_committed=False
        )

    def step_many(self, sessions: Sequence[Session], actions: Sequence[Action]) -> list[Frame]:
        """One step of each session, one after the other, because their words and pictures have different lengths.
        Raises ActionError for an impossible direction, before any session has moved."""
        for action in actions:
            self._direction(action)
        return [self._step(session, action) for session, action in zip(sessions, actions, strict=True)]

    def observe(self, session: Session, action: Action, pixels: np.ndarray, pose: Pose | None = None) -> Frame:
        """Take a true picture (H, W, 3) uint8 into a session's history, in place of the one that `step` would dream."""
        writer, (h, w) = self._resumed(session, action), cells_of(session.frame)
        cell = self.vision.config.cell
        fitted = PictureFile.fromarray(np.asarray(pixels)).resize((w * cell, h * cell), PictureFile.Resampling.BICUBIC)
        codes = self.encode(np.asarray(fitted))
        for stream in writer.branches:
            stream.append(self.form.image_block(codes))
        frame = Frame(session.frame.index + 1, self.show(codes)[0], codes, None, pose or moved(session.frame, action))
        session.extend(action, passage_of(frame, writer))
        return frame

    def settle(self, sessions: Sequence[Session]) -> None:
        """Read the part of each session's newest passage that the model has not read: after a picture that was
        denoised whole, that is the causal pass over it."""
        for session in sessions:
            if session.is_committed:
                continue
            *before, passage = passages_of(session)
            strands = []
            for branch, strand in enumerate(passage.strands):
                stream = self._stream([*self.in_sight(before), passage], branch)
                self.passes.settle([stream], but=1)
                pages = (*strand.pages, *stream.own_pages)
                strands.append(replace(strand, pages=pages, written=len(strand.ids)))
            session.settled(replace(passage, strands=tuple(strands)))

    def prepare(self, session: Session, action: Action, *, stop: Callable[[], bool] | None = None) -> None:
        """Nothing is dreamt ahead: every frame is drawn whole, when it is asked for."""

    def encode(self, pixels: np.ndarray) -> np.ndarray:
        """Pixels (H, W, 3) uint8, of whole cells a side, as a token grid (h, w) int32."""
        with torch.inference_mode():
            return self.vision.encode(torch.tensor(pixels)[None])[0].cpu().numpy().astype(np.int32)

    def show(self, tokens: np.ndarray) -> tuple[np.ndarray, None]:
        """A token grid (h, w) as pixels (16h, 16w, 3) uint8, and None where other engines return depth."""
        codes = torch.from_numpy(tokens.astype(np.int64))[None]
        with torch.inference_mode():
            return self.vision.decode(codes)[0][0].cpu().numpy(), None

    def save_changes(self, session: Session, path: str | Path, before: Session) -> bool:
        """Never: see saves_changes."""
        return False

    def save_session(self, session: Session, path: str | Path) -> None:
        """Write a session's state to one file: the ids and pictures of everything that it keeps. Keys and values, a
        quarter of a megabyte per token at full size, are computed again from the ids."""
        moments = passages_of(session)
        told = [
            {
                "index": moment.frame.index,
                "pose": pose_row(moment.frame.pose),
                "words": moment.words,
                "ends": [strand.end for strand in moment.strands],
            }
            for moment in moments
        ]
        meta = {
            "roam": "exploration",
            "format": FORMAT,
            "weights": self.checkpoint.digest,
            "seed": str(session.seed),
            "start": session.start,
            "decoder": session.decoder,
            "passages": json.dumps(told),
            "actions": json.dumps([action_row(action) for action in session.actions]),
        }
        tensors = {f"codes.{k}": torch.from_numpy(codes_of(moment.frame)) for k, moment in enumerate(moments)}
        tensors |= {
            f"ids.{k}.{branch}": torch.tensor([*strand.ids, strand.next], dtype=torch.int32)
            for k, moment in enumerate(moments)
            for branch, strand in enumerate(moment.strands)
        }
        write_whole(tensors, path, meta)

    def load_session(self, path: str | Path) -> Session:
        """Continue from what `save_session` wrote. Raises SnapshotError for a file that is incomplete or of other
        weights."""
        try:
            with safe_open(path, "pt") as file:
                meta = file.metadata() or {}
                if meta.get("roam") != "exploration" or meta.get("format") != FORMAT:
                    raise SnapshotError(f"{path} is no saved exploration of format {FORMAT}; wanted what saving wrote")
                if meta["weights"] != self.checkpoint.digest:
                    raise SnapshotError(
                        f"{path} was saved with weights {meta['weights']}, these are {self.checkpoint.digest}; load "
                        "the model that it was walked with"
                    )
                held = tensors_of(file, meta, path)
            actions = [action_of(row) for row in json.loads(meta["actions"])]
            passages = [self._stored(k, told, held) for k, told in enumerate(json.loads(meta["passages"]))]
            session = Session(self, [], actions, seed=int(meta["seed"]), start=meta["start"], decoder=meta["decoder"])
        except SnapshotError:
            raise
        except (OSError, SafetensorError, KeyError, ValueError, TypeError, IndexError, RuntimeError) as error:
            raise SnapshotError(f"{path} is torn or no saved exploration ({error}); nothing was loaded") from error
        for passage in passages:
            session.resumed(passage)
            self.settle([session])
        return session

    def _step(self, session: Session, action: Action) -> Frame:
        began = time.perf_counter()
        self.settle([session])
        settled = time.perf_counter()
        writer = self._resumed(session, action)
        try:
            frame, said = self._drawn(writer, session.frame.index + 1)
        except BaseException:
            writer.close()
            raise
        timing = Timing(denoise_ms=1e3 * (time.perf_counter() - settled), commit_ms=1e3 * (settled - began))
        frame = replace(frame, pose=moved(session.frame, action), timing=timing)
        session.extend(action, passage_of(frame, writer, said))
        return frame

    def _drawn(self, writer: AnswerWriter, index: int) -> tuple[Frame, str]:
        said: list[str] = []
        for event in writer.events():
            if isinstance(event, Image):
                return Frame(index, event.pixels, event.codes), "".join(said)
            if isinstance(event, Text):
                said.append(event.text)
        raise ActionError("no room is left for another picture; rewind, or begin another world")

    def _resumed(self, session: Session, action: Action) -> AnswerWriter:
        """A writer that continues after a session's newest passage, with the next direction."""
        if session.is_closed:
            raise RuntimeError("this session is closed; open another")
        self.settle([session])
        seen, size = self.in_sight(passages_of(session)), cells_of(session.frame)
        streams = [self._stream(seen, branch) for branch in range(len(seen[-1].strands))]
        request = Request("explore", "", preset=self._preset(session.decoder), size=size, seed=session.seed)
        writer = AnswerWriter(self.checkpoint, request, passes=self.passes, streams=streams, largest=self._largest)
        if direction := self._direction(action):
            writer.instruct(direction)
        return writer

    def _direction(self, action: Action) -> str:
        """What an action says to the model, nothing if it stands still. Raises ActionError if that is impossible."""
        text = action.text.strip()
        if action.at:
            raise ActionError("an official model has no poses: it dreams what comes next and nothing elsewhere")
        if not text or (action.motion is not None and action.motion.is_still):
            return ""
        if found := controls_in(text):
            raise ActionError(f"a direction with the control token '{found[0]}'; write it without")
        if (count := len(self.text.encode(text))) > (limit := self._turn_limit):
            raise ActionError(f"a direction of {count} tokens; at most {limit} are read: say it in several")
        return text

    def in_sight(self, moments: Sequence[Passage]) -> list[Passage]:
        """The passages that the following step sees: the first, and as many of the last as leave room for the step;
        if the context holds only one besides the step, the last, and not the first."""
        if len(moments) < 2:
            return [*moments]
        first, *others = moments
        room = (
            self.pages.context - self._turn_limit - self._num_thoughts - self.form.block_length(*cells_of(first.frame))
        )
        room -= len(first.strands[0].ids)
        seen: list[Passage] = []
        for passage in reversed(others):
            room -= len(passage.strands[0].ids)
            if room < 0:
                break
            seen.append(passage)
        return [first, *reversed(seen)] if seen else [others[-1]]

    @property
    def _turn_limit(self) -> int:
        """Tokens of a direction, at most."""
        return min(TURN_LIMIT, self.pages.context // SHARE)

    @property
    def _num_thoughts(self) -> int:
        """Words' tokens of a step, at most."""
        limit = self.preset.text_limit
        return min(THOUGHT_LIMIT if limit is None else limit, self.pages.context // SHARE)

    @property
    def _largest(self) -> int:
        """Tokens of the largest picture with which a walk goes on: a step sees one, and draws another."""
        scene = min(SCENE_LIMIT, self.pages.context // SHARE)
        return (self.pages.context - scene - self._turn_limit - 2 * self._num_thoughts) // 2

    def _fit_to_context(self) -> None:
        """Use fewer words and smaller frames if the context would otherwise be too short to walk."""
        self.preset = replace(self.preset, text_limit=self._num_thoughts)
        area = 9 * self._largest // 10 * self.vision.config.cell**2  # the rest is for ends of rows and the size
        if area < self.preset.area:
            log.warning(
                "frames of %d pixels, for a context of %d tokens holds no two of %d",
                area,
                self.pages.context,
                self.preset.area,
            )
            self.preset = replace(self.preset, area=area)

    def _check_room(self, writer: AnswerWriter) -> None:
        """Raise ContextFull if a step after the first frame would find no room."""
        given, step = bool(writer.grids), self._turn_limit + self._num_thoughts
        block = self.form.block_length(*writer.grids[0].shape) if given else self._largest
        needed = len(writer.prompt) + step + block + (0 if given else self._num_thoughts + block)
        if not given and block < self.form.block_length(SMALLEST_SIDE, SMALLEST_SIDE):
            raise ContextFull(
                f"a context of {self.pages.context} tokens is too short for a walk from words alone; "
                "begin with a picture, or give a longer --context"
            )
        if (excess := needed - self.pages.context) > 0:
            raise ContextFull(
                f"the scene's words are {excess} tokens too long for a context of {self.pages.context}; "
                "say it in fewer, or give a longer --context"
            )

    def _stream(self, seen: Sequence[Passage], branch: int) -> TokenStream:
        """One branch of the passages as a stream to continue; the unread part of the last one is pending."""
        strands = [passage.strands[branch] for passage in seen]
        last = strands[-1]
        unread = last.ids[last.written :]
        pages = [page for strand in strands for page in strand.pages]
        stream = TokenStream(self.cache, context=self.pages.context, pages=pages, position=last.end - len(unread))
        stream.append([*unread, last.next])
        return stream

    def _preset(self, decoder: str | None) -> Preset:
        return replace(self.preset, decoder=decoder or self.preset.decoder)

    def _stored(self, k: int, told: dict, held: dict[str, torch.Tensor]) -> Passage:
        codes = held[f"codes.{k}"].numpy().astype(np.int32)
        frame = Frame(told["index"], self.show(codes)[0], codes, None, pose_of(told["pose"]))
        strands = []
        for branch, end in enumerate(told["ends"]):
            *ids, last = held[f"ids.{k}.{branch}"].tolist()
            strands.append(Strand(tuple(ids), last, (), 0, end))
        return Passage.of(frame, tuple(strands), told["words"])


def explore_preset(**changes) -> Preset:
    """The task's preset for walks: a step ends with its picture, and begins it after so many words at the latest."""
    return preset("explore", **{"stops_at_image": True, "text_limit": THOUGHT_LIMIT} | changes)


def _kept(context: int, area: int) -> int:
    """About how many pictures of so many pixels a context holds."""
    return max(1, context // max(1, area // CELL**2))
