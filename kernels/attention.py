"""Attention of fresh rows over paged history and over themselves: the canvas, a prefill or a commit.

    out_i = sum_j softmax_j(scale * q_i . k_j) v_j
    j runs over every valid slot of the listed pages, then over the fresh rows: all of them (canvas) or j <= i (causal).
    Query head h reads key head h // (H / Hkv); those H / Hkv heads are folded into rows, so K and V are read once.

Knows pages as arrays and a table; who owns them and when they are freed is decided in world/.
"""

import math
from dataclasses import dataclass
from functools import partial

import torch
import torch.nn.functional as F

from .device import Chip, backend, block_of, chip_of, dot_precision, has_half_dots, tl, triton
from .history import PagedHistory, history_slots

# Score matrices are made this many elements at a time: a megabyte of bf16 stays in a core's cache.
SCORES_AT_ONCE = 1 << 19


def attend_reference(q, k, v, history=None, *, causal=False, scale=None):
    """`attend` in plain torch: sequence by sequence, a whole GQA group folded into rows, against pages gathered once.

    A sequence is never padded to another's length, so that it gets the same bits alone and in a batch. In float32
    torch's fused attention is the fastest on a CPU; in bf16 it gains nothing, and two bf16 products around a softmax
    do, where the CPU has them (measured 2 to 3 times).
    """
    B, N, H, D = q.shape
    Hkv = k.shape[2]
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    if out.numel() == 0:
        return out
    slots = None
    if history is not None and history.page_table.shape[1]:
        slots = history.slots or history_slots(history.page_table, history.page_lengths, history.k_pages.shape[1])
    dtype = q.dtype if has_half_dots(q) else torch.float32
    run = attend_by_products if dtype == torch.bfloat16 else attend_fused
    unseen = _unseen(N, H // Hkv, q.device) if causal else None
    for b in range(B):
        past = None if slots is None else slots.index[b]
        gather = partial(_keys_and_values, history, past, k[b], v[b], dtype)
        gathered = None if past is None else history.gathered
        keys, values = gather() if gathered is None else gathered.keys_and_values(b, gather, k[b], v[b])
        rows = q[b].unflatten(1, (Hkv, -1)).transpose(0, 1).reshape(Hkv, -1, D).to(dtype)
        mixed = run(rows, keys, values, unseen=unseen, scale=D**-0.5 if scale is None else scale)
        out[b] = mixed.unflatten(1, (N, -1)).transpose(0, 1).reshape(N, H, D)
    return out


def attend_fused(rows, keys, values, *, unseen, scale):
    """Rows (Hkv, R, D) over keys and values (Hkv, T, D); unseen (R, N) bool: which of the last N a row must not see.

    Few rows are filled up to whole blocks of torch's: a product of one or two rows sums in another order, and words
    must get the same bits whatever else is read with them.
    """
    R = rows.shape[1]
    extra = -R % 32 if R < 192 else 0
    if extra:
        rows = F.pad(rows, (0, 0, 0, extra))
    seen = None
    if unseen is not None:
        seen = F.pad(~unseen, (keys.shape[1] - unseen.shape[1], 0, 0, extra), value=True)
    return F.scaled_dot_product_attention(rows[None], keys[None], values[None], attn_mask=seen, scale=scale)[0, :, :R]


def attend_by_products(rows, keys, values, *, unseen, scale):
    """`attend_fused` written out, some rows at a time."""
    Hkv, R, _ = rows.shape
    T = keys.shape[1]
    out = torch.empty_like(rows)
    columns = keys.transpose(1, 2)
    step = max(1, SCORES_AT_ONCE // (Hkv * T))
    for start in range(0, R, step):
        chunk = rows[:, start : start + step]
        scores = torch.baddbmm(chunk.new_empty(Hkv, chunk.shape[1], T), chunk, columns, beta=0, alpha=scale)
        if unseen is not None:
            scores[..., T - unseen.shape[1] :].masked_fill_(unseen[start : start + step], -math.inf)
        out[:, start : start + step] = torch.bmm(torch.softmax(scores, -1), values)
    return out


def _keys_and_values(history, past, k, v, dtype):
    pages = (None, None) if past is None else (history.k_pages, history.v_pages)
    return tuple(_history_then_fresh(of, past, x).to(dtype) for of, x in zip(pages, (k, v), strict=True))


def _history_then_fresh(pages, index, fresh):
    """History and fresh rows (N, Hkv, D) end to end, (Hkv, L + N, D), in one piece: products are faster so."""
    if index is None:
        return fresh.transpose(0, 1).contiguous()
    flat = pages.view(-1, *fresh.shape[1:])  # a view or an error: a copy of the whole cache must not hide here
    return torch.cat([flat.index_select(0, index), fresh.to(flat.dtype)]).transpose(0, 1).contiguous()


def _unseen(N, G, device):
    """Which of the fresh keys folded causal rows must not see: (N * G, N) bool."""
    return torch.ones(N, N, dtype=torch.bool, device=device).triu(1).repeat_interleave(G, 0)


@triton.jit
def _fold_tile(acc, norm, top, queries, keys, values, seen, scale, PRECISION: tl.constexpr):
    """Fold one tile of keys into the running softmax: acc (R, D), norm (R,), top (R,); scale carries log2(e)."""
    scores = tl.where(seen, tl.dot(queries, keys, input_precision=PRECISION) * scale, float("-inf"))
    new_top = tl.maximum(top, tl.max(scores, 1))
    weights = tl.exp2(scores - new_top[:, None])
    decay = tl.exp2(top - new_top)
    norm = norm * decay + tl.sum(weights, 1)
    acc = tl.dot(weights.to(values.dtype), values, acc * decay[:, None], input_precision=PRECISION)
    return acc, norm, new_top


@triton.jit
def _page_at(table_ptr, lengths_ptr, m, last):
    """The page and its number of valid slots at place m of a sequence's table; no slots where there is no page."""
    page = tl.load(table_ptr + m, mask=m < last, other=-1)
    length = tl.load(lengths_ptr + page, mask=page >= 0, other=0)
    return page.to(tl.int64), length


@triton.jit
def _load_keys(base, place, here, D: tl.constexpr, BLOCK_D: tl.constexpr):
    columns = tl.arange(0, BLOCK_D)
    mask = here[None, :]
    if BLOCK_D != D:
        mask = mask & (columns < D)[:, None]
    return tl.load(base + place[None, :] + columns[:, None], mask=mask, other=0.0)


@triton.jit
def _load_values(base, place, here, D: tl.constexpr, BLOCK_D: tl.constexpr):
    columns = tl.arange(0, BLOCK_D)
    mask = here[:, None]
    if BLOCK_D != D:
        mask = mask & (columns < D)[None, :]
    return tl.load(base + place[:, None] + columns[None, :], mask=mask, other=0.0)


@triton.jit
def _attend_kernel(
    q_ptr,
    k_ptr,
    v_ptr,
    k_pages_ptr,
    v_pages_ptr,
    table_ptr,
    lengths_ptr,
    out_ptr,
    top_ptr,
    norm_ptr,
    N,
    M,
    Hkv,
    units_a_split,
    scale,
    q_stride_b,
    q_stride_n,
    q_stride_h,
    k_stride_b,
    k_stride_n,
    k_stride_h,
    v_stride_b,
    v_stride_n,
    v_stride_h,
    page_stride,
    slot_stride,
    head_stride,
    G: tl.constexpr,
    D: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_T: tl.constexpr,
    BLOCK_D: tl.constexpr,
    CAUSAL: tl.constexpr,
    SPLITS: tl.constexpr,
    PRECISION: tl.constexpr,
):
    pair = tl.program_id(1).to(tl.int64)
    b = pair // Hkv
    key_head = pair % Hkv
    split = tl.program_id(2)
    rows = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    query = rows // G
    head = key_head * G + rows % G
    columns = tl.arange(0, BLOCK_D)
    offsets = tl.arange(0, BLOCK_T)
    inside = (rows < N * G)[:, None] & (columns < D)[None, :]
    q_offsets = b * q_stride_b + query * q_stride_n + head * q_stride_h
    queries = tl.load(q_ptr + q_offsets[:, None] + columns[None, :], mask=inside, other=0.0)
    acc = tl.zeros((BLOCK_R, BLOCK_D), tl.float32)
    norm = tl.zeros((BLOCK_R,), tl.float32)
    top = tl.full((BLOCK_R,), float("-inf"), tl.float32)

    # a split's share of the work: places of the page table, and after the last of them the fresh rows as one more place
    first = split * units_a_split
    last = tl.minimum(M, first + units_a_split)
    k_pages_ptr += key_head * head_stride
    v_pages_ptr += key_head * head_stride
    page, length = _page_at(table_ptr + b * M, lengths_ptr, first, last)
    for m in range(first, last):
        next_page, next_length = _page_at(table_ptr + b * M, lengths_ptr, m + 1, last)
        k_page_ptr = k_pages_ptr + page * page_stride
        v_page_ptr = v_pages_ptr + page * page_stride
        for start in range(0, length, BLOCK_T):
            slots = start + offsets
            here = slots < length
            keys = _load_keys(k_page_ptr, slots * slot_stride, here, D, BLOCK_D)
            values = _load_values(v_page_ptr, slots * slot_stride, here, D, BLOCK_D)
            acc, norm, top = _fold_tile(acc, norm, top, queries, keys, values, here[None, :], scale, PRECISION)
        page, length = next_page, next_length

    fresh_end = tl.where((first <= M) & (first + units_a_split > M), N, 0)
    if CAUSAL:
        fresh_end = tl.minimum(fresh_end, (tl.program_id(0) * BLOCK_R + BLOCK_R - 1) // G + 1)
    k_ptr += b * k_stride_b + key_head * k_stride_h
    v_ptr += b * v_stride_b + key_head * v_stride_h
    for start in range(0, fresh_end, BLOCK_T):
        others = start + offsets
        here = others < N
        keys = _load_keys(k_ptr, others * k_stride_n, here, D, BLOCK_D)
        values = _load_values(v_ptr, others * v_stride_n, here, D, BLOCK_D)
        seen = here[None, :]
        if CAUSAL:
            seen = seen & (others[None, :] <= query[:, None])
        acc, norm, top = _fold_tile(acc, norm, top, queries, keys, values, seen, scale, PRECISION)

    if SPLITS == 1:
        place = (b * N + query) * (Hkv * G * D) + head * D
        out = (acc / norm[:, None]).to(out_ptr.dtype.element_ty)
        tl.store(out_ptr + place[:, None] + columns[None, :], out, mask=inside)
    else:  # unfinished sums, which _combine_kernel brings together
        place = (pair * SPLITS + split) * (N * G) + rows
        tl.store(out_ptr + place[:, None] * D + columns[None, :], acc, mask=inside)
        tl.store(top_ptr + place, top, mask=rows < N * G)
        tl.store(norm_ptr + place, norm, mask=rows < N * G)


@triton.jit
def _combine_kernel(
    part_ptr,
    top_ptr,
    norm_ptr,
    out_ptr,
    N,
    Hkv,
    G: tl.constexpr,
    D: tl.constexpr,
    BLOCK_R: tl.constexpr,
    BLOCK_D: tl.constexpr,
    SPLITS: tl.constexpr,
):
    pair = tl.program_id(1).to(tl.int64)
    rows = tl.program_id(0) * BLOCK_R + tl.arange(0, BLOCK_R)
    columns = tl.arange(0, BLOCK_D)
    inside = rows < N * G
    tile = inside[:, None] & (columns < D)[None, :]
    acc = tl.zeros((BLOCK_R, BLOCK_D), tl.float32)
    norm = tl.zeros((BLOCK_R,), tl.float32)
    top = tl.full((BLOCK_R,), float("-inf"), tl.float32)
    for split in range(SPLITS):
        place = (pair * SPLITS + split) * (N * G) + rows
        part_top = tl.load(top_ptr + place, mask=inside, other=0.0)
        new_top = tl.maximum(top, part_top)
        base = tl.where(new_top == float("-inf"), 0.0, new_top)  # no keys yet: a split may hold only absent pages
        decay = tl.exp2(top - base)
        share = tl.exp2(part_top - base)
        norm = norm * decay + share * tl.load(norm_ptr + place, mask=inside, other=1.0)
        part = tl.load(part_ptr + place[:, None] * D + columns[None, :], mask=tile, other=0.0)
        acc = acc * decay[:, None] + share[:, None] * part
        top = new_top
    place = ((pair // Hkv) * N + rows // G) * (Hkv * G * D) + ((pair % Hkv) * G + rows % G) * D
    out = (acc / norm[:, None]).to(out_ptr.dtype.element_ty)
    tl.store(out_ptr + place[:, None] + columns[None, :], out, mask=tile)


@dataclass(frozen=True)
class AttendPlan:
    """How the kernel cuts its work: rows (queries times GQA heads) and keys a tile, splits over the history."""

    block_r: int
    block_t: int
    splits: int
    num_warps: int
    num_stages: int


def plan_attend(num_rows: int, num_pairs: int, num_pages: int, head_dim: int, dtype, chip: Chip) -> AttendPlan:
    """Choose tiles for num_rows folded rows in each of num_pairs (sequence, key head) pairs.

    Tiles of 128 rows and 64 keys keep a head of 128 in registers with 8 warps and 128 KiB of shared memory on a large
    chip; others spill there and take 32 keys. Few rows leave multiprocessors idle, so the history is split until about
    two tiles a multiprocessor exist.
    """
    block_r = block_of(num_rows, largest=128)
    tiles = -(-num_rows // block_r) * num_pairs
    splits = max(1, min(num_pages + 1, 32, 2 * chip.num_processors // max(tiles, 1)))
    units_a_split = -(-(num_pages + 1) // splits)
    splits = -(-(num_pages + 1) // units_a_split)
    if dtype == torch.float32:
        return AttendPlan(min(block_r, 32), 32, splits, 4, 1)
    block_t = 64 if chip.is_large or head_dim <= 64 else 32
    return AttendPlan(block_r, block_t, splits, 8 if block_r == 128 else 4, 3 if head_dim <= 128 else 2)


def attend_triton(q, k, v, history=None, *, causal=False, scale=None, plan=None):
    """`attend` as one kernel, or two when the history is split; `plan` overrides the choice of tiles."""
    B, N, H, D = q.shape
    Hkv = k.shape[2]
    G = H // Hkv
    out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    if out.numel() == 0:
        return out
    q, k, v = (x if x.stride(3) == 1 else x.contiguous() for x in (q, k, v))
    k_pages, v_pages, table, lengths = _pages_or_stand_ins(history, k, v)
    M = table.shape[1]
    if plan is None:
        plan = plan_attend(N * G, B * Hkv, M, D, q.dtype, chip_of(q.device))
    splits, sums, top, norm = plan.splits, out, out, out
    if splits > 1:
        sums = torch.empty(B * Hkv, splits, N * G, D, dtype=torch.float32, device=q.device)
        top, norm = torch.empty(2, B * Hkv, splits, N * G, dtype=torch.float32, device=q.device)
    block_d = block_of(D)
    _attend_kernel[(triton.cdiv(N * G, plan.block_r), B * Hkv, splits)](
        q,
        k,
        v,
        k_pages,
        v_pages,
        table,
        lengths,
        sums,
        top,
        norm,
        N,
        M,
        Hkv,
        triton.cdiv(M + 1, splits),
        (D**-0.5 if scale is None else scale) * math.log2(math.e),
        *q.stride()[:3],
        *k.stride()[:3],
        *v.stride()[:3],
        *k_pages.stride()[:3],
        G=G,
        D=D,
        BLOCK_R=plan.block_r,
        BLOCK_T=plan.block_t,
        BLOCK_D=block_d,
        CAUSAL=causal,
        SPLITS=splits,
        PRECISION=dot_precision(q.dtype),
        num_warps=plan.num_warps,
        num_stages=plan.num_stages,
    )
    if splits > 1:
        block_r = block_of(N * G, largest=32)
        _combine_kernel[(triton.cdiv(N * G, block_r), B * Hkv)](
            sums, top, norm, out, N, Hkv, G=G, D=D, BLOCK_R=block_r, BLOCK_D=block_d, SPLITS=splits
        )
    return out


def _pages_or_stand_ins(history, k, v):
    """The history's arrays as the kernel reads them; with no history, arrays that an empty table never reaches."""
    if history is None:
        nothing = torch.empty(k.shape[0], 0, dtype=torch.int32, device=k.device)
        return k, v, nothing, nothing
    if history.k_pages.stride() != history.v_pages.stride() or history.k_pages.stride(3) != 1:
        raise ValueError(
            f"attend: pages with strides {history.k_pages.stride()} and {history.v_pages.stride()}; wanted the same "
            f"for keys and values, with the last 1"
        )
    return history.k_pages, history.v_pages, history.page_table.contiguous(), history.page_lengths.contiguous()


def attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    history: PagedHistory | None = None,
    *,
    causal: bool = False,
    scale: float | None = None,
) -> torch.Tensor:
    """Attend from fresh rows to the listed pages and to the fresh rows themselves.

    q (B, N, H, D); k, v (B, N, Hkv, D), the rows' own keys and values, with H a multiple of Hkv. Every row sees every
    valid slot of its sequence's pages, then all fresh rows (the canvas) or, with causal, those up to itself. scale
    defaults to D ** -0.5. Returns (B, N, H, D) in q's dtype.
    """
    _check(q, k, v, history)
    run = attend_triton if backend(q.device) == "triton" else attend_reference
    return run(q, k, v, history, causal=causal, scale=scale)


def _check(q, k, v, history):
    B, N, H, D = q.shape
    Hkv = k.shape[2]
    if k.shape != (B, N, Hkv, D) or v.shape != k.shape or H % Hkv:
        raise ValueError(
            f"attend: q {tuple(q.shape)}, k {tuple(k.shape)}, v {tuple(v.shape)}; wanted (B, N, H, D) and twice "
            f"(B, N, Hkv, D) with H a multiple of Hkv"
        )
    if history is None:
        return
    P, _, pages_Hkv, pages_D = history.k_pages.shape
    if (pages_Hkv, pages_D) != (Hkv, D) or history.v_pages.shape != history.k_pages.shape:
        raise ValueError(
            f"attend: pages {tuple(history.k_pages.shape)} and {tuple(history.v_pages.shape)}; "
            f"wanted (P, S, {Hkv}, {D}) twice"
        )
    if history.page_table.shape[0] != B or history.page_lengths.shape != (P,):
        raise ValueError(
            f"attend: page table {tuple(history.page_table.shape)} and lengths {tuple(history.page_lengths.shape)}; "
            f"wanted ({B}, M) and ({P},)"
        )
