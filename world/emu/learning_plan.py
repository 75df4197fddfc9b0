"""How much memory training an official model will take of each device, and what would fit if it does not.

Plain arithmetic on the configuration, as memory_plan.py is for serving.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace

from ..config import ModelConfig
from .memory_plan import PRECISIONS, num_parameters, refusal, table

LOGITS = 3 * 4 * (1 << 25)  # of a part of the head's logits, their gradient and their softmax (adaptation/train.py)
_GIB = 2**30


@dataclass(frozen=True)
class LearningPlan:
    """The memory of one device, in bytes but for the counts.

    rank: of low-rank adapters, 0 where all weights learn; rows: of a sequence with its noisy copies, one of which goes
    through at once, every layer keeping its inputs alone; num_devices: that the weights lie in shards over, each layer
    whole only while it computes; available: bytes free on the device, None where that is unknown.
    """

    model: ModelConfig
    precision: str
    rank: int
    rows: int
    num_devices: int = 1
    device: str = "cuda"
    available: int | None = None

    @property
    def size(self) -> int:
        """Bytes of a weight."""
        return int(PRECISIONS[self.precision])

    @property
    def weights(self) -> int:
        return sum(num_parameters(self.model)) * self.size // self.num_devices

    @property
    def num_adapters(self) -> int:
        """Parameters of all adapters."""
        model, D = self.model, self.model.head_dim
        q, kv = model.num_attention_heads * D, model.num_key_value_heads * D
        sides = 2 * (model.hidden_size + q) + 2 * (model.hidden_size + kv)
        sides += 3 * (model.hidden_size + model.intermediate_size)
        return model.num_hidden_layers * self.rank * sides

    @property
    def learnt(self) -> int:
        """Gradients and what optimisers keep, in float32, and adapters: of matrices in layers one momentum (Muon), of
        all else two (AdamW)."""
        dense, rest = num_parameters(self.model)
        whole = 4 * 4 * self.num_adapters if self.rank else 4 * (2 * dense + 3 * rest)
        return whole // self.num_devices

    @property
    def gathered(self) -> int:
        """What is whole for a moment although weights are in shards: embeddings and head, a layer and the next, and the
        gradients of those that learn."""
        if self.num_devices == 1:
            return 0
        dense, rest = num_parameters(self.model)
        once = (rest + 2 * dense // self.model.num_hidden_layers) * self.size
        return once + 4 * 2 * self.num_adapters // self.model.num_hidden_layers if self.rank else 2 * once

    @property
    def activations(self) -> int:
        """What every layer keeps, its two inputs, and what one layer needs while it is recomputed and
        differentiated."""
        model, D = self.model, self.model.head_dim
        kept = 2 * model.num_hidden_layers * model.hidden_size
        heads = model.num_attention_heads + 2 * model.num_key_value_heads
        again = 8 * model.hidden_size + 6 * model.intermediate_size + 6 * heads * D
        return self.rows * (kept + again) * self.size + LOGITS

    @property
    def total(self) -> int:
        return self.weights + self.learnt + self.gathered + self.activations

    @property
    def checkpoint(self) -> int:
        """Bytes of the result on the disk."""
        return sum(num_parameters(self.model)) * self.size

    @property
    def state(self) -> int:
        """Bytes of a saved state on the disk: what learns and what optimisers keep of it."""
        dense, rest = num_parameters(self.model)
        return 3 * 4 * self.num_adapters if self.rank else dense * (self.size + 4) + rest * (self.size + 8)

    @property
    def fits(self) -> bool:
        return self.available is None or self.total <= self.available

    @property
    def assumed(self) -> str:
        """The assumptions of the plan, in words."""
        what = f"adapters of rank {self.rank}" if self.rank else "all weights"
        return f"training {what} on {self.rows} rows at once"

    def report(self) -> str:
        """The plan as a few lines for people."""
        rows = [
            (f"language model, {self.precision}", self.weights),
            ("gradients and optimiser" + (", adapters" if self.rank else ""), self.learnt),
            ("activations", self.activations),
            ("in all" + (f", on each of {self.num_devices} devices" if self.num_devices > 1 else ""), self.total),
        ]
        if self.num_devices > 1:
            rows.insert(2, ("weights that are whole for a moment", self.gathered))
        return table(rows, self.device, self.available, self.assumed)

    def check(self) -> None:
        """Raise DoesNotFit if the device is too small."""
        if self.fits or self.available is None:
            return
        others = [f"{name} ({plan.total / _GIB:.1f} GiB)" for name, plan in self._smaller() if plan.fits]
        raise refusal(f"training needs {self.total / _GIB:.1f} GiB", self.assumed, self.device, self.available, others)

    def _smaller(self) -> Iterator[tuple[str, LearningPlan]]:
        low = replace(self, rank=self.rank or 64, precision="bfloat16")
        adapters = f"--rank {low.rank} --precision bfloat16"
        if low != self:
            yield adapters, low
        yield "half as long a --longest", replace(self, rows=self.rows // 2)
        for name, plan in {"": self, f"{adapters} ": low}.items():
            over = (replace(plan, num_devices=count) for count in (2, 4, 8) if count > self.num_devices)
            if (found := next((more for more in over if more.fits), None)) and (name == "" or low != self):
                yield f"{name}--devices {found.num_devices} such", found
