"""The transformer: Emu3.5's architecture at any size, one class for training, prefill, denoising and commit.

Pre-RMSNorm, grouped-query attention with QK-norm before half-split RoPE, SwiGLU, untied head, no biases; the state-dict
names are the official ones. What rows see is not decided here: every pass passes in an `Attention`, which attends over
the rows alone, over a paged cache, or over a training sequence with noisy copies.
"""

from __future__ import annotations

import copy

import torch
from torch import Tensor, nn

from ...kernels.linear import linear
from ...kernels.loops import fits
from ...kernels.norm import rms_norm
from ...kernels.packed import BITS
from ...kernels.rope import qk_norm_rope
from ...kernels.swiglu import swiglu
from ..config import ModelConfig
from .attention import Attention
from .joined import PRODUCTS, Assembly, Joined, dense_of
from .looped import MOST_ROWS, LoopedLayer, LoopedLayers, LoopedProducts, chosen_rows

# the precisions of dense layers, and the dtype of everything else
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16}
DTYPES |= dict.fromkeys(("fp8", *BITS), torch.bfloat16)


class Transformer(nn.Module):
    """Token ids to hidden states; the caller applies the head to the rows that need it.

    is_alone: whether its passes need no other process and no other device, so that they can be captured as graphs.
    """

    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config, self.is_alone = config, True
        self._looped: LoopedLayers | None = None
        self.model = _Body(config)
        self.lm_head = nn.Linear(config.hidden_size, config.vocab_size, bias=False)

    def embed(self, ids: Tensor) -> Tensor:
        """ids (B, N) int64 -> (B, N, C)."""
        return self.model.embed_tokens(ids)

    def forward(self, rows: Tensor, positions: Tensor, attention: Attention, *, wanted: Tensor | None = None) -> Tensor:
        """rows (B, N, C) embeddings, positions (B, N) int64 -> final normed hidden states (B, N, C), or of the rows
        wanted (B, M) int64 alone, (B, M, C)."""
        cos, sin = rotary_angles(positions, self.config)
        looped = self._looped_layers(rows)
        if looped is not None:
            return looped(rows, cos, sin, attention, wanted=wanted)
        delta = None
        for index, layer in enumerate(self.model.layers):
            rows, delta = layer(index, rows, delta, cos, sin, attention)
        assert delta is not None, "a model has layers"
        if wanted is not None:
            delta, rows = chosen_rows(delta, wanted), chosen_rows(rows, wanted)
        return rms_norm(delta, self.model.norm.weight, eps=self.config.rms_norm_eps, residual=rows)[0]

    def _looped_layers(self, rows: Tensor) -> LoopedLayers | None:
        """These layers as loops, for as many rows and such a device as loops are quicker on."""
        are_there = all(layer.is_resident for layer in self.model.layers)
        if not (are_there and fits(rows) and rows.shape[0] * rows.shape[1] <= MOST_ROWS):
            return None
        if self._looped is None and self.is_alone:
            found = [layer.looped() for layer in self.model.layers if isinstance(layer, Layer)]
            layers = [layer for layer in found if layer is not None]
            if len(layers) == self.config.num_hidden_layers:
                self._looped = LoopedLayers(self.config, layers, self.model.norm.weight)
        return self._looped

    @torch.no_grad()
    def served(self, precision: str) -> Transformer:
        """This model for inference: weights in a precision of DTYPES, and products that read the same rows joined into
        one; in the precisions of QUANTISED dense layers are quantised and the rest is bfloat16.

        Weights that have their dtype already and are not joined are shared, and the model itself stays as it was. Save
        the original, because the served one's state dict has no official names. Raises ValueError for sizes that
        quantised products do not allow.
        """
        # modules are copied, weights are not; on the meta device they would be made without any, but its first use
        # imports half of torch's compiler
        served = copy.deepcopy(self, {id(weight): weight for weight in self.parameters()})
        for layer, origin in zip(served.model.layers, self.model.layers, strict=True):
            assert isinstance(layer, Layer) and isinstance(origin, Layer)
            layer.join(origin, precision)
        for name, _ in list(served.named_parameters()):
            owner, _, leaf = name.rpartition(".")
            weight = self.get_parameter(name).detach().to(DTYPES[precision])
            setattr(served.get_submodule(owner), leaf, nn.Parameter(weight, requires_grad=False))
        return served.eval()


class _Body(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.embed_tokens = nn.Embedding(config.vocab_size, config.hidden_size)
        self.layers = nn.ModuleList(Layer(config) for _ in range(config.num_hidden_layers))
        self.norm = _Norm(config.hidden_size)


class _Norm(nn.Module):
    """Holds an RMSNorm's weight under its official name; the kernel computes it."""

    def __init__(self, size: int):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(size))


class _SelfAttention(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        C, D = config.hidden_size, config.head_dim
        self.q_proj = nn.Linear(C, config.num_attention_heads * D, bias=False)
        self.k_proj = nn.Linear(C, config.num_key_value_heads * D, bias=False)
        self.v_proj = nn.Linear(C, config.num_key_value_heads * D, bias=False)
        self.o_proj = nn.Linear(config.num_attention_heads * D, C, bias=False)
        self.q_norm, self.k_norm = _Norm(D), _Norm(D)


class _MLP(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.gate_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.up_proj = nn.Linear(config.hidden_size, config.intermediate_size, bias=False)
        self.down_proj = nn.Linear(config.intermediate_size, config.hidden_size, bias=False)


class Layer(nn.Module):
    def __init__(self, config: ModelConfig):
        super().__init__()
        self.config = config
        self.joined: Joined | None = None
        self.is_resident = True  # its products are there always, and not just while it runs (offload.py)
        self.input_layernorm, self.post_attention_layernorm = _Norm(config.hidden_size), _Norm(config.hidden_size)
        self.self_attn, self.mlp = _SelfAttention(config), _MLP(config)

    def forward(self, index: int, rows: Tensor, delta: Tensor | None, cos: Tensor, sin: Tensor, attention: Attention):
        """The residual stream and what is still to be added to it, so that each sum is computed together with the
        norm that follows."""
        eps, parts = self.config.rms_norm_eps, self.self_attn
        if delta is None:
            normed = rms_norm(rows, self.input_layernorm.weight, eps=eps)
        else:
            normed, rows = rms_norm(delta, self.input_layernorm.weight, eps=eps, residual=rows)
        q, k, v = self._queries_keys_values(normed)
        q, k = qk_norm_rope(
            q, k, v, parts.q_norm.weight, parts.k_norm.weight, cos, sin, eps=eps, pages=attention.write(index)
        )
        mixed = attention.attend(index, q, k, v).flatten(2)
        mixed = parts.o_proj(mixed) if self.joined is None else linear(mixed, self.joined.out)
        normed, rows = rms_norm(mixed, self.post_attention_layernorm.weight, eps=eps, residual=rows)
        return rows, self._fed_forward(normed)

    def join(self, origin: Layer, precision: str) -> None:
        """Take the dense weights of another layer, joined and in that precision, in place of this one's own."""
        assembly = Assembly(self.config)
        for part in (origin.self_attn, origin.mlp):
            for name, child in part.named_children():
                if name in PRODUCTS:
                    assert isinstance(child, nn.Linear)
                    assembly.put(name, dense_of(child.weight, precision, DTYPES[precision]))
        self.take(assembly.joined(), self.config)

    def take(self, joined: Joined, config: ModelConfig) -> None:
        """From now on use these products, of a model or a share of one with these numbers, and free the layer's own
        weights."""
        self.joined, self.config = joined, config
        for part in (self.self_attn, self.mlp):
            for name in [name for name, _ in part.named_children() if name in PRODUCTS]:
                delattr(part, name)

    def looped(self) -> LoopedLayer | None:
        """This layer as loops run it, if its products are plain tensors of float32 on a CPU."""
        weights = [] if self.joined is None else [*vars(self.joined).values()]
        tensors = [weight for weight in weights if isinstance(weight, Tensor)]
        if not weights or len(tensors) < len(weights) or not all(fits(weight) for weight in tensors):
            return None
        parts, config = self.self_attn, self.config
        heads = [(parts.q_norm, config.num_attention_heads), (parts.k_norm, config.num_key_value_heads)]
        head_norms = torch.cat([norm.weight.expand(count, -1) for norm, count in heads])
        norms = (self.input_layernorm.weight, self.post_attention_layernorm.weight, head_norms)
        first, second, of_heads = (weight.detach().contiguous().numpy() for weight in norms)
        return LoopedLayer(first, second, of_heads, LoopedProducts(*(weight.t() for weight in tensors)))

    def _queries_keys_values(self, normed: Tensor) -> tuple[Tensor, ...]:
        """normed (B, N, C) -> q (B, N, H, D), k and v (B, N, Hkv, D)."""
        D, parts = self.config.head_dim, self.self_attn
        if self.joined is None:
            return tuple(part(normed).unflatten(-1, (-1, D)) for part in (parts.q_proj, parts.k_proj, parts.v_proj))
        H, Hkv = self.config.num_attention_heads, self.config.num_key_value_heads
        return linear(normed, self.joined.qkv).unflatten(-1, (-1, D)).split((H, Hkv, Hkv), 2)

    def _fed_forward(self, normed: Tensor) -> Tensor:
        if self.joined is None:
            return self.mlp.down_proj(swiglu(self.mlp.gate_proj(normed), self.mlp.up_proj(normed)))
        gate, up = linear(normed, self.joined.gate_up).chunk(2, -1)
        return linear(swiglu(gate, up), self.joined.down)


def rotary_angles(positions: Tensor, config: ModelConfig) -> tuple[Tensor, Tensor]:
    """positions (B, N) int64 -> cos, sin (B, N, D) float32, half-split (both halves alike). Angles are made in float64:
    a long walk reaches positions at which float32 angles are wrong."""
    half = torch.arange(0, config.head_dim, 2, dtype=torch.float64, device=positions.device) / config.head_dim
    angles = positions[..., None].double() / config.rope_theta**half
    angles = torch.cat([angles, angles], -1)
    return angles.cos().float(), angles.sin().float()
