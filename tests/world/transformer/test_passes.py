"""Passes are functions of tensors: capturing, padding, batching or reading together changes no result."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from roam.kernels.graph import CapturedStep
from roam.scenes.explorer import SceneSession
from roam.scenes.splits import make_scene
from roam.world.action import Action, parse_action
from roam.world.checkpoint import load_checkpoint
from roam.world.engine import Engine
from roam.world.transformer import dida, passes
from roam.world.transformer.dida import Canvas, MetricPath, decode_canvas
from roam.world.transformer.passes import Evidence, Serving

from .doubles import Alone

WALK = [parse_action(t) for t in ("move forward", "turn left", "step back and turn right", "look up 5 degrees", "wait")]


def served(checkpoint, **serving):
    return Engine(checkpoint, serving=Serving(**serving))


def replayed(step, kind, buffers):
    """A double of CUDA's capture: it runs the step as often as warming up does, and later only on its own buffers."""
    for _ in range(2):
        step(kind, *buffers)
    outputs = step(kind, *buffers)
    return lambda: outputs.copy_(step(kind, *buffers)), outputs


def with_replays(checkpoint, **serving):
    """An engine that captures every step, through the double."""
    with pytest.MonkeyPatch.context() as patch:
        for module in (passes, dida):
            patch.setattr(module, "CapturedStep", partial(CapturedStep, capture=replayed))
        return served(checkpoint, **serving)


def digests(session, actions):
    return [session.step(action).digest for action in actions]


@pytest.mark.parametrize("decoder", ["dida", "autoregressive"])
def test_a_walk_replayed_from_captures_is_the_walk_itself(loaded_checkpoint, first_frame, decoder):
    plain, captured = served(loaded_checkpoint), with_replays(loaded_checkpoint)
    for engine in (plain, captured):
        engine.dida = engine.path.config = replace(engine.dida, steps=3)
    walk = WALK * 2 if decoder == "dida" else WALK[:3]  # token by token it is 65 passes a frame
    walks = [digests(engine.session(first_frame, decoder=decoder), walk) for engine in (plain, captured)]
    assert walks[0] == walks[1]


def test_a_longer_walk_captures_nothing_new(loaded_checkpoint, first_frame):
    engine = with_replays(loaded_checkpoint)
    session = engine.session(first_frame)
    digests(session, WALK[:2] + WALK[:2])
    count = len(engine.passes.step)
    digests(session, WALK[:2] * 4)
    assert 0 < len(engine.passes.step) == count <= 4  # a commit, and the canvas with sentences of each length


def test_captures_are_forgotten_when_the_pages_move(loaded_checkpoint, first_frame):
    engine = with_replays(loaded_checkpoint)
    session, alone = engine.session(first_frame, seed=4), served(loaded_checkpoint).session(first_frame, seed=4)
    expected = digests(alone, WALK)
    got = digests(session, WALK[:2])
    held = [engine.cache.allocate() for _ in range(engine.cache.pool.num_free + 1)]
    assert engine.cache.num_moves == 1 and held
    assert got + digests(session, WALK[2:]) == expected


def test_words_read_with_the_canvas_are_words_read_before_it(loaded_checkpoint):
    results = []
    for together in (True, False):
        engine = served(loaded_checkpoint)
        passes, cache = engine.passes, engine.cache
        words, own, index = [[3, 4, 5], [6]], [cache.allocate(), cache.allocate()], torch.tensor([1, 1])
        canvas = torch.arange(2 * 64).view(2, 64) * 31
        seeds, past = torch.tensor([1, 2]), [[], []]
        if not together:
            passes.read_words(words, index, past, own)
        tokens = passes.denoise(words if together else None, index, past, own, canvas, None, seeds, temperature=1.0)
        results.append((tokens, cache.lengths[own], cache.k[:, own, :3]))
    for one, other in zip(*results, strict=True):
        assert torch.equal(one, other)
    assert results[0][1].tolist() == [3, 1]


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_a_batch_leaves_the_same_bits_in_the_cache_as_each_alone(loaded_checkpoint, first_frame, precision):
    engine = served(loaded_checkpoint, precision=precision)
    group = [engine.session(first_frame, seed=s, start=start) for s, start in ((1, "auto"), (2, "noise"), (3, "frame"))]
    digests(group[1], WALK[:4])  # histories of different lengths
    alone = [session.fork() for session in group]
    actions = [WALK[2], WALK[0], Action("a")]
    together = engine.step_many(group, actions)
    assert [f.digest for f in together] == [s.step(a).digest for s, a in zip(alone, actions, strict=True)]
    engine.settle(group)
    for one, other in zip(group, alone, strict=True):
        other.settle()
        length = engine.cache.lengths[one.pages[-1]]
        assert length == engine.cache.lengths[other.pages[-1]]
        assert torch.equal(engine.cache.k[:, one.pages[-1], :length], engine.cache.k[:, other.pages[-1], :length])


def test_guidance_of_one_is_none_and_of_zero_hears_no_words(loaded_checkpoint, first_frame):
    def tokens(guidance, text):
        session = served(loaded_checkpoint, guidance=guidance).session(first_frame, start="noise", seed=2)
        return session.step(Action(text)).tokens

    assert (tokens(0.0, "move forward") == tokens(0.0, "turn around")).all()
    assert (tokens(3.0, "move forward") != tokens(3.0, "turn around")).any()
    assert (tokens(3.0, "move forward") != tokens(1.0, "move forward")).any()


def test_a_served_model_is_the_model_and_leaves_it_alone(checkpoint_folder):
    model = load_checkpoint(checkpoint_folder).model
    before = {name: weight.clone() for name, weight in model.state_dict().items()}
    rows, positions = model.embed(torch.arange(12)[None]), torch.arange(12)[None]
    exact = model(rows, positions, Alone())
    torch.testing.assert_close(model.served("float32")(rows, positions, Alone()), exact, rtol=1e-5, atol=1e-5)
    # 8 and 3 bits of mantissa, and weights of 8 and 4 bits, through two layers
    for precision, tolerance in (("bfloat16", 0.02), ("fp8", 0.08), ("int8", 0.03), ("int4", 0.3)):
        lower = model.served(precision)
        got = lower(lower.embed(torch.arange(12)[None]), positions, Alone()).float()
        error = ((got - exact).norm() / exact.norm()).item()
        assert 0 < error < tolerance
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
def test_evidence_that_weighs_much_decides_and_in_any_precision(loaded_checkpoint, precision):
    engine = served(loaded_checkpoint, precision=precision)
    codes = torch.randint(0, 4096, (1, 64))
    page = engine.cache.allocate()
    for beta, decides in ((1000.0, True), (0.0, False)):
        evidence = Evidence(codes, torch.full((1, 64), beta))
        tokens = engine.passes.denoise(
            [[1]],
            torch.tensor([1]),
            [[]],
            [page],
            torch.zeros_like(codes),
            evidence,
            torch.tensor([1]),
            temperature=0.0,
        )
        assert (tokens == codes).all() == decides


def first_steps(checkpoint, precision):
    """The tokens of one step from noise in four scenes together, because one frame has so few that a handful
    decides."""
    engine = Engine(checkpoint, serving=Serving(precision=precision))
    firsts = [SceneSession(make_scene("test", number)).frame for number in range(3, 7)]
    return np.array([engine.session(first, start="noise").step(WALK[0]).tokens for first in firsts])


@pytest.fixture(scope="module")
def embedded():
    """The embedded weights, and those tokens without any loss of precision."""
    checkpoint = load_checkpoint()
    return checkpoint, first_steps(checkpoint, "float32")


# for the tiny model, test_a_served_model_is_the_model_and_leaves_it_alone holds every precision to its own tolerance
READS_ALL = pytest.mark.slow(reason="the embedded model is read and walked once more")


@pytest.mark.parametrize(
    "precision, agree",
    [
        pytest.param("bfloat16", 0.9, marks=READS_ALL),
        pytest.param("fp8", 0.8, marks=READS_ALL),
        pytest.param("int8", 0.9, marks=READS_ALL),
        pytest.param("int4", 0.5, marks=READS_ALL),
    ],
)
def test_the_embedded_model_dreams_nearly_the_same_in_fewer_bits(embedded, precision, agree):
    checkpoint, exact = embedded
    assert np.mean(exact == first_steps(checkpoint, precision)) >= agree


@pytest.mark.parametrize("precision", ["fp8", "int4"])
def test_quantised_weights_walk_and_say_their_precision(loaded_checkpoint, first_frame, precision):
    engine = served(loaded_checkpoint, precision=precision)
    assert engine.precision == precision and engine.cache.k.dtype == torch.bfloat16
    assert engine.session(first_frame).step(WALK[0]).index == 1


@pytest.mark.parametrize("serving", [dict(precision="int3"), dict(sampler="fast"), dict(guidance=-1.0)])
def test_ways_of_serving_that_do_not_exist_are_refused(serving):
    with pytest.raises(ValueError, match="wanted a precision of"):
        Serving(**serving)


def test_jumps_keep_clean_tokens_end_on_the_prediction_and_come_nearer_each_step(engine):
    path = MetricPath(engine.vision.codebook, engine.dida)
    target, level = torch.randint(0, 4096, (1, 256)), torch.zeros(1, 256)
    level[:, :16] = 1.0
    canvas = Canvas(torch.where(level > 0, target, -1), level)
    apart = []

    def predict(tokens, seeds, temperature):
        known = tokens.clamp(min=0)
        apart.append((path.codebook[known] - path.codebook[target]).square().sum(-1)[:, 16:].mean().item())
        assert (tokens[:, :16] == target[:, :16]).all()
        return target

    seeds = [torch.tensor([k]) for k in range(8)]
    assert (decode_canvas(predict, canvas, path, seeds, sampler="jump") == target).all()
    assert apart[1:] == sorted(apart[1:], reverse=True) and apart[-1] < apart[1] / 2


def test_the_jumping_sampler_dreams_reproducibly_and_otherwise(loaded_checkpoint, first_frame):
    def walk(sampler):
        engine = served(loaded_checkpoint, sampler=sampler)
        engine.dida = engine.path.config = replace(engine.dida, steps=3)
        return digests(engine.session(first_frame, start="noise"), WALK[:2])

    assert walk("jump") == walk("jump") != walk("direct")
