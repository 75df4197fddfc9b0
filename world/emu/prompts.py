"""The six tasks of Emu3.5: the text of their prompts, with and without the request, and how their answers are drawn.

Templates and presets are those of the official code (baaivision/Emu3.5, configs/); vla has neither there, and uses the
prompt with which others fine-tuned the model and the preset of howto. Plain text and numbers: knows nothing of ids.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from .sampling import Sampling
from .text import controls_in

TASKS = ("t2i", "x2i", "howto", "story", "explore", "vla")
MODES = ("interactive", "free")  # modes of explore: one picture per instruction, or the model walks by itself
UNCONDITIONAL = ("images", "all")
TURNS = ("user", "span")
DECODERS = ("auto", "dida", "jacobi", "autoregressive")
SAMPLERS = ("direct", "jump")  # of denoising
REFERENCES = ("last", "greedy", "drawn")
VLA = ("question", "plain")
MAX_IMAGES = 3
# cells (h, w) of the pictures that the Image checkpoint was trained on; the same turned by 90 degrees
DEFAULT_SIZES = {"t2i": (55, 73)}  # as in the official configuration; others keep a reference's size, or choose
RATIOS = {"1:1": (64, 64), "4:3": (55, 73), "16:9": (47, 85), "21:9": (41, 97), "3:2": (52, 78)}

_SYSTEM = "<|extra_203|>You are a helpful assistant"
_ANSWER = " ASSISTANT: <|extra_100|>"
_EXTRA = {"howto": " Please generate a response with interleaved text and images."}
_VLA = "Given the first frame, how to perform the following task? "


class PromptError(ValueError):
    """A request that no template accepts; the message says what came and what the task wants."""


@dataclass(frozen=True)
class Preset:
    """How a task's answers are drawn.

    guidance: scale on visual tokens, 1 for none; area: pixels of input pictures; max_tokens: of the answer;
    stops_at_image: whether the first picture ends it; text_limit: words' tokens after which a picture is begun, None to
    leave that to the model. unconditional: what of its own answer the unconditional branch reads, "images" as in the
    official transformers code or "all" as in its vLLM patch. decoder: "autoregressive" draws pictures token by token,
    "jacobi" the same tokens with several per pass, "dida" whole (for adapted weights); "auto" is whole or, for weights
    that cannot, jacobi. turns: how turns are distinguished. steps, sampler and heat: of denoising, None for the
    weights' own: how many, "direct" or "jump", and the temperature between steps. image_guidance: scale of a third
    branch, which reads neither words nor other pictures, None for none; references: the size of pictures if several
    references are given, "last" for the last one's, as in the official transformers code, "greedy" for the likeliest,
    as in its vLLM path, "drawn" to draw it; vla: the form of that task's request (`prompt`).
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
    steps: int | None = None
    sampler: str | None = None
    heat: float | None = None
    image_guidance: float | None = None
    references: str = "last"
    vla: str = "question"

    def __post_init__(self):
        if self.references not in REFERENCES:
            raise PromptError(f"unknown size by references '{self.references}'; known: {', '.join(REFERENCES)}")
        if self.vla not in VLA:
            raise PromptError(f"unknown template of vla '{self.vla}'; known: {', '.join(VLA)}")
        if self.sampler not in (None, *SAMPLERS):
            raise PromptError(f"unknown sampler '{self.sampler}'; known: {', '.join(SAMPLERS)}")
        if self.steps is not None and self.steps < 1:
            raise PromptError(f"{self.steps} denoising steps; wanted at least one")
        if self.turns not in TURNS:
            raise PromptError(f"unknown form of turns '{self.turns}'; known: {', '.join(TURNS)}")
        if self.decoder not in DECODERS:
            raise PromptError(f"unknown decoder '{self.decoder}'; known: {', '.join(DECODERS)}")
        if self.unconditional not in UNCONDITIONAL:
            raise PromptError(f"unknown unconditional branch '{self.unconditional}'; known: {', '.join(UNCONDITIONAL)}")

    @property
    def num_branches(self) -> int:
        """Sequences that are read together."""
        if self.image_guidance is not None:
            return 3
        return 2 if self.guidance != 1 else 1


_WORDS = Sampling(1024, 0.9, 1.0)
_PRESETS = {
    "t2i": Preset(5.0, _WORDS, Sampling(5120), area=1_048_576, max_tokens=5_120, stops_at_image=True),
    "x2i": Preset(3.0, _WORDS, Sampling(5120), area=1_048_576, max_tokens=5_120, stops_at_image=True),
    "howto": Preset(3.0, Sampling(200, 0.8, 0.7), Sampling(10_240)),
    "story": Preset(3.0, _WORDS, Sampling(10_240)),
    "explore": Preset(3.0, Sampling(200, 0.5, 0.7), Sampling(5120)),
    "vla": Preset(3.0, Sampling(200, 0.8, 0.7), Sampling(10_240)),
}


def preset(task: str, *, temperature: float | None = None, **changes) -> Preset:
    """The official preset of a task, with fields replaced; temperature: of pictures, drawn either way. Raises
    PromptError for an unknown task.

    The base weights want guidance 2 for t2i and x2i, where the Image weights want 5.
    """
    _check_task(task)
    drawn = replace(_PRESETS[task], **changes)
    if temperature is None:
        return drawn
    return replace(drawn, image=replace(drawn.image, temperature=temperature), heat=temperature)


def decoder_of(preset: Preset, *, is_adapted: bool) -> str:
    """How weights draw pictures under a preset, "dida", "jacobi" or "autoregressive". Raises PromptError for
    settings that would give noise, or have no effect."""
    if preset.decoder == "dida" and not is_adapted and preset.steps is None:
        raise PromptError(
            "these weights were never adapted to denoise whole pictures: leave out --decoder dida, adapt them with "
            "`roam adapt`, or say with --steps in how many steps they are to try"
        )
    decoder = preset.decoder
    if decoder == "auto":
        decoder = "dida" if is_adapted else "jacobi"
    if decoder != "dida" and (preset.steps is not None or preset.sampler is not None):
        raise PromptError(
            "--steps and --sampler are of denoising, and pictures are drawn token by token here: leave "
            "them out, or add --decoder dida"
        )
    return decoder


def prompt(task: str, question: str, num_images: int = 0, *, vla: str = "question") -> list[str | int]:
    """A task's prompt as text, with the number of an image wherever one stands.

    Images come after the question, but before it for x2i. Control tokens are spelled out. vla: nothing is published of
    that task's prompt; "question" asks as others do who fine-tuned the model, "plain" puts the request as it is, as
    every other task has it. Raises PromptError for an
    unknown task, an empty question, control tokens in it, or a number of images that the task does not take.
    """
    _check_task(task)
    lowest, highest = {"t2i": (0, 0), "x2i": (1, MAX_IMAGES)}.get(task, (0, MAX_IMAGES))
    if not lowest <= num_images <= highest:
        wanted = str(highest) if lowest == highest else f"{lowest} to {highest}"
        raise PromptError(f"{num_images} images for task {task}, which takes {wanted}")
    if not question.strip():
        raise PromptError(f"task {task} without a request; say what you want")
    refuse_controls(question)
    question = _VLA + question if task == "vla" and vla == "question" else question
    middle: list[str | int] = [question, *range(num_images)]
    if task == "x2i":
        middle = [*range(num_images), question]
    return _joined([f"{_SYSTEM} for {task} task.{_EXTRA.get(task, '')} USER: ", *middle, _ANSWER])


def unconditional_prompt(num_images: int = 0) -> list[str | int]:
    """The prompt of the unconditional branch: no task, no words, but the images."""
    return _joined([f"{_SYSTEM}. USER: ", *range(num_images), _ANSWER])


def turn(instruction: str, *, form: str = "user") -> str:
    """The text between a picture and the answer to the next instruction of an interactive exploration.

    The official format is not published. "user" repeats the template's own words; "span" puts the instruction alone
    between two answers, as public fine-tuning code packs its steps.
    """
    if form not in TURNS:
        raise PromptError(f"unknown form of turns '{form}'; known: {', '.join(TURNS)}")
    if not instruction.strip():
        raise PromptError("an empty instruction; say where to go or what to look at")
    refuse_controls(instruction)
    if form == "user":
        return f"<|extra_101|> USER: {instruction}{_ANSWER}"
    return f"<|extra_101|>{instruction}<|extra_100|>"


def exploration(scene: str, mode: str = "interactive") -> str:
    """The question that opens an exploration. Interactive is the only published wording; free is our reading of it."""
    if mode not in MODES:
        raise PromptError(f"unknown mode '{mode}' of exploration; known: {', '.join(MODES)}")
    opening = "Under my instructions to explore" if mode == "interactive" else "Explore"
    return f"{opening} {scene}"


def cells_of(size: str, task: str) -> tuple[int, int] | None:
    """Cells (h, w) of a size as a person writes it: "h*w", a ratio, "default" for the task's, "auto" (None) to keep
    a reference's or let the model choose. Raises PromptError for a size that no picture has."""
    if size in ("default", "auto"):
        return DEFAULT_SIZES.get(task) if size == "default" else None
    tall, _, wide = size.partition(":")
    if size in RATIOS:
        return RATIOS[size]
    if f"{wide}:{tall}" in RATIOS:
        return RATIOS[f"{wide}:{tall}"][::-1]
    sides = size.split("*")
    if len(sides) != 2 or not all(side.isdecimal() and 1 <= int(side) <= 99 for side in sides):
        known = ", ".join((*RATIOS, "default", "auto"))
        raise PromptError(f"a size of '{size}'; wanted height*width in cells, 1 to 99 each, or one of {known}")
    return int(sides[0]), int(sides[1])


def refuse_controls(text: str) -> None:
    """Raises PromptError for words that would be read as control tokens."""
    if found := controls_in(text):
        raise PromptError(f"the request contains the control token '{found[0]}'; write it without")


def _check_task(task: str) -> None:
    if task not in TASKS:
        raise PromptError(f"unknown task '{task}'; known tasks: {', '.join(TASKS)}")


def _joined(pieces: list[str | int]) -> list[str | int]:
    """Neighbouring texts joined into one, so that they are tokenized as a whole."""
    joined: list[str | int] = []
    for piece in pieces:
        if isinstance(piece, str) and joined and isinstance(joined[-1], str):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined
