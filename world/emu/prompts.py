"""The six tasks of Emu3.5: what their prompts say, with and without the request, and how their answers are drawn.

Templates and presets are those of the official code (baaivision/Emu3.5, configs/); vla has neither there, and takes the
prompt that others fine-tuned the model with and the preset of howto. Plain text and numbers: knows nothing of ids.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .sampling import Sampling

TASKS = ("t2i", "x2i", "howto", "story", "explore", "vla")
MODES = ("interactive", "free")  # of explore: a picture an instruction, or the model walks by itself
UNCONDITIONAL = ("images", "all")
TURNS = ("user", "span")
DECODERS = ("auto", "dida", "autoregressive")
MAX_IMAGES = 3
# cells (h, w) of the pictures that the Image checkpoint was trained on; the same turned by 90 degrees
RATIOS = {"1:1": (64, 64), "4:3": (55, 73), "16:9": (47, 85), "21:9": (41, 97), "3:2": (52, 78)}

_SYSTEM = "<|extra_203|>You are a helpful assistant"
_ANSWER = " ASSISTANT: <|extra_100|>"
_EXTRA = {"howto": " Please generate a response with interleaved text and images."}
_VLA = "Given the first frame, how to perform the following task? "


class PromptError(ValueError):
    """A request that no template takes; the message says what came and what the task wants."""


@dataclass(frozen=True)
class Preset:
    """How a task's answers are drawn.

    guidance: scale on visual tokens, 1 for none; area: pixels of pictures that go in; max_tokens: of the answer;
    stops_at_image: whether the first picture ends it; text_limit: words' tokens after which a picture is begun, None
    to leave that to the model. unconditional: what of its own answer the unconditional branch reads, "images" as in the
    official transformers code or "all" as in its vLLM patch. decoder: "autoregressive" draws pictures token by token,
    "dida" whole (for adapted weights), "auto" as the weights can. turns: how an exploration's turns are told apart.
    """

    guidance: float
    text: Sampling
    image: Sampling
    area: int = 518_400
    max_tokens: int = 32_768
    stops_at_image: bool = False
    text_limit: int | None = None
    unconditional: str = "images"
    decoder: str = "auto"
    turns: str = "user"

    def __post_init__(self):
        if self.turns not in TURNS:
            raise PromptError(f"unknown form of turns '{self.turns}'; known: {', '.join(TURNS)}")
        if self.decoder not in DECODERS:
            raise PromptError(f"unknown decoder '{self.decoder}'; known: {', '.join(DECODERS)}")
        if self.unconditional not in UNCONDITIONAL:
            raise PromptError(f"unknown unconditional branch '{self.unconditional}'; known: {', '.join(UNCONDITIONAL)}")


_WORDS = Sampling(1024, 0.9, 1.0)
_PRESETS = {
    "t2i": Preset(5.0, _WORDS, Sampling(5120), area=1_048_576, max_tokens=5_120, stops_at_image=True),
    "x2i": Preset(3.0, _WORDS, Sampling(5120), area=1_048_576, max_tokens=5_120, stops_at_image=True),
    "howto": Preset(3.0, Sampling(200, 0.8, 0.7), Sampling(10_240)),
    "story": Preset(3.0, _WORDS, Sampling(10_240)),
    "explore": Preset(3.0, Sampling(200, 0.5, 0.7), Sampling(5120)),
    "vla": Preset(3.0, Sampling(200, 0.8, 0.7), Sampling(10_240)),
}


def preset(task: str, **changes) -> Preset:
    """The official preset of a task, with fields replaced. Raises PromptError for an unknown task.

    The base weights want guidance 2 for t2i and x2i, where the Image weights want 5.
    """
    _check_task(task)
    return replace(_PRESETS[task], **changes)


def prompt(task: str, question: str, num_images: int = 0) -> list[str | int]:
    """A task's prompt as text, with the number of an image wherever one stands.

    Images come after the question, but before it for x2i. Control tokens are spelled out. Raises PromptError for an
    unknown task, an empty question, or a number of images that the task does not take.
    """
    _check_task(task)
    lowest, highest = {"t2i": (0, 0), "x2i": (1, MAX_IMAGES)}.get(task, (0, 1))
    if not lowest <= num_images <= highest:
        wanted = str(highest) if lowest == highest else f"{lowest} to {highest}"
        raise PromptError(f"{num_images} images for task {task}, which takes {wanted}")
    if not question.strip():
        raise PromptError(f"task {task} without a request; say what you want")
    question = _VLA + question if task == "vla" else question
    middle: list[str | int] = [question, *range(num_images)]
    if task == "x2i":
        middle = [*range(num_images), question]
    return _joined([f"{_SYSTEM} for {task} task.{_EXTRA.get(task, '')} USER: ", *middle, _ANSWER])


def unconditional_prompt(num_images: int = 0) -> list[str | int]:
    """The prompt of the unconditional branch: no task, no words, but the images."""
    return _joined([f"{_SYSTEM}. USER: ", *range(num_images), _ANSWER])


def turn(instruction: str, *, form: str = "user") -> str:
    """What stands between a picture and the answer to the next instruction of an interactive exploration.

    The official format is not published. "user" repeats the template's own words; "span" puts the instruction alone
    between two answers, as public fine-tuning code packs its steps.
    """
    if form not in TURNS:
        raise PromptError(f"unknown form of turns '{form}'; known: {', '.join(TURNS)}")
    if not instruction.strip():
        raise PromptError("an empty instruction; say where to go or what to look at")
    if form == "user":
        return f"<|extra_101|> USER: {instruction}{_ANSWER}"
    return f"<|extra_101|>{instruction}<|extra_100|>"


def exploration(scene: str, mode: str = "interactive") -> str:
    """The question that opens an exploration. Interactive is the only published wording; free is our reading of it."""
    if mode not in MODES:
        raise PromptError(f"unknown mode '{mode}' of exploration; known: {', '.join(MODES)}")
    opening = "Under my instructions to explore" if mode == "interactive" else "Explore"
    return f"{opening} {scene}"


def _check_task(task: str) -> None:
    if task not in TASKS:
        raise PromptError(f"unknown task '{task}'; known tasks: {', '.join(TASKS)}")


def _joined(pieces: list[str | int]) -> list[str | int]:
    """Neighbouring text made one piece, so that it is split into tokens as a whole."""
    joined: list[str | int] = []
    for piece in pieces:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined
