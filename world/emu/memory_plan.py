"""How much memory a model will take before any of it is loaded, and what would fit if it does not.

Plain arithmetic on the configuration; reads no weights and touches no device.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from ...kernels.packed import UNPACKED_AT_ONCE
from ..config import ModelConfig, PageConfig

# bytes of one weight of a dense layer; packed ones have two more numbers per group of 128
PRECISIONS = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "fp8": 1.0, "int8": 1 + 4 / 128, "int4": 0.5 + 4 / 128}
SHORTER = (24_576, 16_384, 12_288, 8_192)  # contexts that are offered if the whole one does not fit
OFFLOAD_ROOMS = 2  # room on the device, in layers, for those that are kept in main memory (offload.py)
UNPACKING = 10  # bytes for each weight that is unpacked at once: codes, and float32 twice
PREFILL_ROWS = 1024  # rows of a prompt that go through the model at once
_GIB = 2**30


class DoesNotFit(ValueError):
    """A model larger than the device; the message says how much larger and what would fit."""


class PrecisionError(ValueError):
    """A precision that is not available for weights; the message says which are."""


@dataclass(frozen=True)
class Footprint:
    """The memory of one device, in bytes except `pages`, `budget`, `spare`, `streams`, `num_devices` and `offload`.

    A stream is a sequence with its own keys and values: one, or more where guidance needs unconditional branches.
    budget: the most tokens that the task's sequence will have, None for the whole context; spare: additional pages of a
    stream, for rewinding. vision: parameters of the vision tokenizer, kept in float32, 0 if it is on the CPU, and
    vision_width its channels at full size; offload: layers kept in main memory, for which the device has two rooms;
    area: pixels of the largest picture; has_fp8: whether the device multiplies fp8; available: bytes free on it, None
    if unknown.
    """

    model: ModelConfig
    pages: PageConfig
    precision: str = "bfloat16"
    vision: int = 0
    vision_width: int = 256
    area: int = 1_048_576
    streams: int = 2
    budget: int | None = None
    spare: int = 0
    num_devices: int = 1
    offload: int = 0
    has_fp8: bool = True
    device: str = "cpu"
    available: int | None = None

    def __post_init__(self):
        if self.precision not in PRECISIONS:
            raise PrecisionError(f"unknown precision '{self.precision}'; known: {', '.join(PRECISIONS)}")

    @property
    def activation_size(self) -> int:
        """Bytes of one activation, and of a number in embeddings, head and cache."""
        return 4 if self.precision == "float32" else 2

    @property
    def weights(self) -> int:
        dense, rest = num_parameters(self.model)
        embedding = self.model.vocab_size * self.model.hidden_size
        packed = int(embedding * PRECISIONS["int8"]) if self.is_packed else embedding * self.activation_size
        whole = packed + (rest - embedding) * self.activation_size
        return int(dense * PRECISIONS[self.precision]) // self.num_devices + whole - self.host_bytes + self._rooms

    @property
    def host_bytes(self) -> int:
        """Bytes of the language model that are kept in main memory."""
        return self.offload * self._layer

    @property
    def _rooms(self) -> int:
        return OFFLOAD_ROOMS * self._layer if self.offload else 0

    @property
    def _layer(self) -> int:
        """Bytes of a layer's dense weights."""
        dense, _ = num_parameters(self.model)
        return int(dense // self.model.num_hidden_layers * PRECISIONS[self.precision])

    @property
    def is_packed(self) -> bool:
        """Whether dense layers and the embedding are packed integers."""
        return self.precision.startswith("int")

    @property
    def vision_weights(self) -> int:
        return 4 * self.vision

    @property
    def page(self) -> int:
        """Bytes of one page of keys and values in all layers."""
        model = self.model
        numbers = 2 * model.num_hidden_layers * self.pages.page_size * model.num_key_value_heads * model.head_dim
        return numbers * self.activation_size // self.num_devices

    @property
    def tokens(self) -> int:
        """The most tokens of one stream."""
        return min(self.pages.context, self.budget or self.pages.context)

    @property
    def num_pages(self) -> int:
        return self.streams * (-(-self.tokens // self.pages.page_size) + self.spare)

    @property
    def activations(self) -> int:
        """The larger of a prefill's rows and a picture's decoding, because they are never held together; and room
        for weights that are unpacked, a part at a time."""
        model = self.model
        heads = model.num_attention_heads + 2 * model.num_key_value_heads
        row = 6 * model.hidden_size + (3 * model.intermediate_size + 2 * heads * model.head_dim) // self.num_devices
        logits = 3 * 4 * model.vocab_size
        picture = 5 * 4 * self.vision_width * self.area if self.vision else 0  # five maps at full size in float32
        unpacked = UNPACKING * UNPACKED_AT_ONCE if self.is_packed else 0
        return max(PREFILL_ROWS * row * self.activation_size + logits + unpacked, picture)

    @property
    def total(self) -> int:
        return self.weights + self.vision_weights + self.num_pages * self.page + self.activations

    @property
    def fits(self) -> bool:
        return self.available is None or self.total <= self.available

    def report(self) -> str:
        """The plan as a few lines for people."""
        kv = f"{self.num_pages} pages of {self.pages.page_size} tokens, {self.page / 2**20:.1f} MiB each"
        rows = [
            (f"language model, {self.precision}", self.weights),
            ("vision tokenizer, float32" if self.vision else "vision tokenizer, on the CPU", self.vision_weights),
            (kv, self.num_pages * self.page),
            ("activations", self.activations),
            *([(f"in the host's memory, {self.offload} layers", self.host_bytes)] if self.offload else []),
            ("in all" + (f", on each of {self.num_devices} devices" if self.num_devices > 1 else ""), self.total),
        ]
        return table(rows, self.device, self.available, self.assumed)

    @property
    def assumed(self) -> str:
        """The assumptions of the plan, in words."""
        kind = "sequence" if self.streams == 1 else "sequences"
        return f"{self.streams} {kind} of {self.tokens} tokens, pictures of up to {self.area} pixels"

    def shortened(self) -> Footprint:
        """The plan with the longest context that fits; this plan if it fits or none does."""
        plans = (replace(self, pages=replace(self.pages, context=context)) for context in SHORTER)
        fitting = (plan for plan in plans if plan.tokens < self.tokens and plan.fits)
        return self if self.fits else next(fitting, self)

    def apart(self) -> Footprint:
        """The plan with pictures encoded and decoded on the CPU, if that fits and this one does not; else this one."""
        without = replace(self, vision=0)
        return without if without.fits and not self.fits else self

    def offloaded(self) -> Footprint:
        """The plan with the fewest layers in main memory that fits; this plan if it fits or none does."""
        if self.fits or self.num_devices > 1:
            return self
        plans = (replace(self, offload=count) for count in range(self.offload + 1, self.model.num_hidden_layers + 1))
        return next((plan for plan in plans if plan.apart().fits), self)

    def check(self) -> None:
        """Raise DoesNotFit if the device is too small."""
        if self.fits or self.available is None:
            return
        smaller = [(name, plan.apart()) for name, plan in self._smaller()]
        others = [f"{name} ({plan.total / _GIB:.1f} GiB)" for name, plan in smaller if plan.fits]
        raise refusal(f"the model needs {self.total / _GIB:.1f} GiB", self.assumed, self.device, self.available, others)

    @property
    def _half(self) -> str:
        """The precision of one byte that the device is good at."""
        return "fp8" if self.has_fp8 else "int8"

    def _smaller(self) -> Iterator[tuple[str, Footprint]]:
        for precision in ("bfloat16", self._half, "int4"):
            if PRECISIONS[precision] < PRECISIONS[self.precision]:
                yield f"--precision {precision}", replace(self, precision=precision)
        for context in (*SHORTER, 4_096):
            plan = replace(self, pages=replace(self.pages, context=context))
            if plan.tokens < self.tokens and plan.fits:
                yield f"--context {context}", plan
                break
        for devices in (2, 4, 8):
            plan = replace(self, num_devices=devices)
            if self.model.num_key_value_heads % devices == 0 and plan.fits:
                yield f"--devices {devices} such", plan
                break
        if (fewest := self.offloaded()) is not self:
            yield f"--offload {fewest.offload}", fewest
        shorter = replace(self.pages, context=min(8_192, self.pages.context))
        for precision in (self._half, "int4"):
            if PRECISIONS[precision] <= PRECISIONS[self.precision]:
                yield f"--precision {precision} --context 8192", replace(self, precision=precision, pages=shorter)


def table(rows: Sequence[tuple[str, int]], device: str, available: int | None, assumed: str) -> str:
    """A plan for people: how many bytes each part needs, how many are free, and the assumptions."""
    free = "unknown" if available is None else f"{available / _GIB:.2f} GiB"
    lines = [f"{size / _GIB:8.2f} GiB  {name}" for name, size in rows]
    return "\n".join([*lines, f"{free:>12}  free on {device}", f"{'planned for':>12}  {assumed}"])


def refusal(needs: str, assumed: str, device: str, available: int, others: Sequence[str]) -> DoesNotFit:
    """The error for a plan that does not fit, with what would."""
    fitting = f"what would fit: {'; '.join(others)}" if others else "nothing smaller fits either"
    fitting += "" if others else ": use a device with more memory"
    return DoesNotFit(f"{needs}, for {assumed}, and {device} has {available / _GIB:.1f} GiB free; {fitting}")


def num_parameters(model: ModelConfig) -> tuple[int, int]:
    """How many parameters dense layers hold, and how many everything else does."""
    C, D = model.hidden_size, model.head_dim
    q, kv = model.num_attention_heads * D, model.num_key_value_heads * D
    dense = 2 * C * (q + kv) + 3 * C * model.intermediate_size
    rest = 2 * model.vocab_size * C + C + model.num_hidden_layers * 2 * (C + D)
    return model.num_hidden_layers * dense, rest
