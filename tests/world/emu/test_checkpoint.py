"""Loading official folders: the result, the plan beforehand, and one clear sentence for each fault."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from roam.kernels.device import NoDeviceError
from roam.kernels.packed import UNPACKED_AT_ONCE, Packed
from roam.viewer.cli import main
from roam.world.checkpoint import CheckpointError, is_official
from roam.world.config import ModelConfig, PageConfig
from roam.world.emu import checkpoint
from roam.world.emu.answer import Image, Request, answer
from roam.world.emu.checkpoint import INDEX, load_official, load_vision
from roam.world.emu.ibq import IbqTokenizer
from roam.world.emu.memory_plan import PRECISIONS, UNPACKING, DoesNotFit, Footprint, num_parameters
from roam.world.emu.prompts import preset
from roam.world.emu.sampling import Sampling
from roam.world.emu.settings import read_config, read_vision_config
from roam.world.emu.text import BPE_FILE, VISION_FILE, TokenizerError
from roam.world.opening import open_engine
from roam.world.options import OfficialOptions
from safetensors.torch import load_file, save_file

from .conftest import IBQ, tiny_model, write_official, write_vision

OFFICIAL = ModelConfig(282_926, 5120, 25_600, 64, 64, 8, 128, 1e-6, 1e6)
GIB = 2**30
POINTER = b"version https://git-lfs.github.com/spec/v1\noid sha256:4d7a\nsize 4999\n"
SHARD = "model-00001-of-00002.safetensors"
NOISE = bytes([0x93, 0xA6, 0xFF, 0x00]) * 50


@pytest.fixture(scope="module")
def official(tmp_path_factory):
    """As it was published: the vision tokenizer as config.yaml and model.ckpt."""
    return write_official(tmp_path_factory.mktemp("published"), ckpt=True)


@pytest.fixture
def copied(official, tmp_path):
    """A copy of the model's folder, to be damaged, and the vision folder."""
    return shutil.copytree(official[0], tmp_path / "model"), official[1]


def test_a_folder_loads_to_the_weights_that_were_written(official):
    said = []
    loaded = load_official(*official, say=said.append)
    wanted = tiny_model().state_dict()
    assert all(torch.equal(value, wanted[key]) for key, value in loaded.model.state_dict().items())
    assert (loaded.vocabulary.size, loaded.vocabulary.num_markers) == (loaded.model.config.vocab_size, 3)
    assert loaded.pages == PageConfig(context=4096) and is_official(official[0])
    assert "language model, float32" in said[0] and "free on cpu" in said[0]


def test_the_vision_tokenizer_loads_alike_from_a_ckpt_with_yaml_and_from_safetensors_with_json(official, tmp_path):
    write_vision(tmp_path, ckpt=False)
    pixels = torch.randint(0, 256, (1, 32, 32, 3), dtype=torch.uint8)
    assert read_vision_config(tmp_path) == read_vision_config(official[1]) == IBQ
    one, other = (load_vision(folder, IBQ, device="cpu") for folder in (tmp_path, official[1]))
    assert torch.equal(one.encode(pixels), other.encode(pixels))


@pytest.mark.parametrize("precision, alike", [("fp8", 0.98), ("int8", 0.999), ("int4", 0.95)])
def test_quantised_weights_give_nearly_the_same_states(official, copied, precision, alike):
    # all of them need sides that are multiples of 16, as this model's are
    plain, small = load_official(*official), load_official(*copied, precision=precision)
    ids, places = torch.arange(40)[None], torch.arange(40)[None]
    wanted = plain.model(plain.model.embed(ids), places, Alone())
    got = small.model(small.model.embed(ids), places, Alone()).float()
    assert torch.nn.functional.cosine_similarity(got, wanted, dim=-1).min() > alike


def test_a_served_folder_has_joined_products_and_gives_the_same_states(official):
    plain, joined = load_official(*official), load_official(*official, served=True)
    ids, places = torch.arange(40)[None], torch.arange(40)[None]
    wanted, got = (each.model(each.model.embed(ids), places, Alone()) for each in (plain, joined))
    torch.testing.assert_close(got, wanted, atol=1e-5, rtol=1e-5)
    assert not any("_proj" in name for name in joined.model.state_dict())


@pytest.mark.parametrize("precision", ["float32", "int8"])
def test_layers_left_in_main_memory_give_the_same_states(official, precision):
    plain, away = (load_official(*official, precision=precision, served=True, offload=count) for count in (0, 2))
    ids, places = torch.arange(40)[None], torch.arange(40)[None]
    for _ in range(2):
        wanted, got = (each.model(each.model.embed(ids), places, Alone()) for each in (plain, away))
        assert torch.equal(got, wanted)
    assert plain.model.is_alone and not away.model.is_alone  # a graph would replay the weights of one layer


def test_the_plan_counts_layers_in_main_memory_and_offers_the_fewest_that_fit(official):
    plan = Footprint(OFFICIAL, PageConfig(), vision=455_336_963, budget=5_600, device="cuda:0", available=60 * GIB)
    with pytest.raises(DoesNotFit, match=r"what would fit: .*--offload 10 \(59\.\d GiB\)"):
        plan.check()
    layer = num_parameters(OFFICIAL)[0] // 64 * 2
    away = replace(plan, offload=10)
    assert plan.weights - away.weights == 8 * layer and away.host_bytes == 10 * layer  # two layers fit on the card
    assert "10 layers" in away.report() and not replace(plan, offload=9).apart().fits
    with pytest.raises(CheckpointError, match="leave one out"):
        load_official(*official, offload=1, devices=2)
    with pytest.raises(CheckpointError, match="3 layers to be offloaded, and the model has 2"):
        load_official(*official, offload=3)


@pytest.mark.parametrize("precision", ["int8", "int4"])
def test_packed_weights_are_held_packed_and_draw_pictures(copied, precision):
    small = load_official(*copied, precision=precision, context=1024)
    kept = sum(weight.numel() for weight in small.model.parameters())
    assert kept < small.model.config.vocab_size * small.model.config.hidden_size * 1.2  # the head and the norms
    changes = dict(area=32 * 48, max_tokens=40, text_limit=3, text=Sampling(top_k=1))
    events = [*answer(small, Request("t2i", "a red door", preset=preset("t2i", **changes), size=(2, 3)))]
    assert [event.codes.shape for event in events if isinstance(event, Image)] == [(2, 3)]


def test_a_device_that_is_not_here_is_refused_in_a_sentence(official, monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    for name, message in (("cuda", "no CUDA device here"), ("gpu", "a device called 'gpu'"), ("mps", "called 'mps'")):
        with pytest.raises(NoDeviceError, match=message):
            load_official(*official, device=name)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 1)
    with pytest.raises(NoDeviceError, match="'cuda:1', and the GPUs here are numbered to 0"):
        load_official(*official, device="cuda:1")


def test_fp8_is_neither_offered_nor_taken_where_a_gpu_has_no_such_products(official, monkeypatch):
    plan = Footprint(OFFICIAL, PageConfig(), budget=5_600, device="cuda", available=45 * GIB, has_fp8=False)
    with pytest.raises(DoesNotFit, match=r"what would fit: --precision int8 \(3\d\.\d GiB\)") as refused:
        plan.check()
    assert "fp8" not in str(refused.value)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (8, 6))
    monkeypatch.setattr(checkpoint, "free_bytes", lambda device: GIB)
    with pytest.raises(DoesNotFit, match=r"cuda has no fp8 products, .* --precision int8 is as small"):
        load_official(*official, device="cuda", precision="fp8")


def test_the_plan_has_room_for_weights_that_are_unpacked_part_by_part():
    few, plain = (Footprint(OFFICIAL, PageConfig(), precision) for precision in ("int4", "bfloat16"))
    assert few.activations - plain.activations == UNPACKING * UNPACKED_AT_ONCE
    assert OFFICIAL.hidden_size * OFFICIAL.intermediate_size > UNPACKED_AT_ONCE  # not a whole layer


def test_settings_left_out_take_the_official_defaults(copied):
    path = copied[0] / "config.json"
    parts = json.loads(path.read_text())
    for name in ("rms_norm_eps", "rope_theta", "head_dim", "max_position_embeddings"):
        del parts[name]
    path.write_text(json.dumps(parts))
    config, context = read_config(copied[0])
    assert (config.rms_norm_eps, config.rope_theta, config.head_dim, context) == (1e-5, 1e6, 128, 32_768)


def test_a_torn_shard_is_named(copied):
    shard = copied[0] / "model-00002-of-00002.safetensors"
    shard.write_bytes(shard.read_bytes()[:-100])
    refused(copied, r"model-00002-of-00002\.safetensors is torn")


def test_a_missing_shard_is_named(copied):
    (copied[0] / "model-00001-of-00002.safetensors").unlink()
    refused(copied, r"model-00001-of-00002\.safetensors is missing, and model\.safetensors\.index\.json lists")


def test_missing_and_unknown_tensors_and_wrong_shapes_are_named(copied):
    shard = copied[0] / "model-00001-of-00002.safetensors"
    whole = load_file(shard)
    key = next(key for key in whole if key.endswith("q_norm.weight"))
    save_file({name: value for name, value in whole.items() if name != key}, shard)
    refused(copied, rf"lacks 1 tensors: {key}")
    save_file(whole | {"model.layers.9.extra": torch.zeros(1)}, shard)
    refused(copied, r"has unknown 1 tensors: model\.layers\.9\.extra")
    save_file(whole | {key: torch.zeros(5)}, shard)
    refused(copied, rf"{key} has shape \(5,\), the configuration wants \(8,\)")
    save_file(whole | {"model.layers.0.self_attn.rotary_emb.inv_freq": torch.zeros(4)}, shard)
    load_official(*copied)


def test_a_checkpoint_that_would_run_code_is_refused_unexecuted(official, tmp_path):
    folder = shutil.copytree(official[1], tmp_path / "vision")
    (folder / "model.ckpt").write_bytes(pickle.dumps({"state_dict": Trap()}))
    refused((official[0], folder), r"model\.ckpt is torn or holds more than tensors, and is not executed")


def test_parts_of_different_models_are_refused(copied):
    path = copied[0] / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"vocab_size": 999}))
    refused(copied, r"different models: config\.json has a vocabulary of 999")


def test_settings_that_this_engine_lacks_are_refused(copied):
    path = copied[0] / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"rope_scaling": {"type": "yarn"}}))
    refused(copied, "rope_scaling")
    (copied[0] / INDEX).unlink()
    path.unlink()
    refused(copied, r"config\.json is missing")


def test_the_plan_of_the_official_model_has_its_parameters_and_256_kib_a_token():
    plan = Footprint(OFFICIAL, PageConfig(), vision=455_336_963)
    assert sum(num_parameters(OFFICIAL)) == 34_103_460_864
    assert plan.weights == 2 * 34_103_460_864 and plan.vision_weights == 4 * 455_336_963
    assert plan.page == 128 * 256 * 1024 and plan.num_pages * plan.page == 16 * GIB


def test_the_plan_counts_what_the_tiny_model_really_has():
    assert sum(num_parameters(tiny_model().config)) == sum(p.numel() for p in tiny_model().parameters())


def test_the_plan_of_packed_weights_is_what_they_take():
    config = tiny_model().config
    for precision, bits in (("int8", 8), ("int4", 4)):
        plan = Footprint(config, PageConfig(), precision=precision)
        layer = tiny_model().model.layers[0].mlp.up_proj.weight
        packed = Packed.of(layer.repeat(1, 4)[:, :128], bits)  # a whole group, as large models have
        assert packed.num_bytes / packed.rows().numel() == PRECISIONS[precision]
        assert plan.weights < Footprint(config, PageConfig(), precision="bfloat16").weights
    assert Footprint(OFFICIAL, PageConfig(), precision="int4").weights < 20 * GIB


def test_pictures_are_drawn_on_the_cpu_where_they_do_not_fit_beside_the_model(copied, monkeypatch):
    whole = Footprint(OFFICIAL, PageConfig(), precision="int4", vision=455_336_963, budget=5_600, available=24 * GIB)
    assert not whole.fits and whole.apart().fits and "vision tokenizer, on the CPU" in whole.apart().report()
    assert replace(whole, available=40 * GIB).apart().vision and replace(whole, available=9 * GIB).apart().vision
    said, where = [], []
    load = checkpoint.load_vision
    monkeypatch.setattr(checkpoint, "load_vision", lambda *a, device: where.append(device) or load(*a, device=device))
    config, vision = tiny_model().config, IbqTokenizer(IBQ)
    parameters = sum(parameter.numel() for parameter in vision.parameters())
    plan = Footprint(config, PageConfig(context=256), "float32", vision=parameters, vision_width=IBQ.ch)
    load_official(*copied, context=256, available=plan.total - 1, say=said.append)
    assert where == ["cpu"] and any("drawn on the CPU" in line for line in said)


def test_what_does_not_fit_is_refused_before_loading_with_what_would(copied):
    plan = Footprint(OFFICIAL, PageConfig(), vision=455_336_963, device="cuda:0", available=79 * GIB)
    with pytest.raises(DoesNotFit, match=r"needs 86\.2 GiB.* cuda:0 has 79\.0 GiB free; .*fit: --precision fp8"):
        plan.check()
    with pytest.raises(DoesNotFit, match=r"--context 16384 .*; --devices 2 such"):
        plan.check()
    with pytest.raises(DoesNotFit, match="nothing smaller fits"):
        replace(plan, available=2 * GIB).check()
    small = replace(plan, budget=5_600, available=24 * GIB)
    with pytest.raises(DoesNotFit, match=r"needs 73\.\d GiB.*what would fit: --precision int4 \(22\.\d GiB\)"):
        small.check()
    (copied[0] / "model-00002-of-00002.safetensors").write_bytes(b"never read")
    with pytest.raises(DoesNotFit):
        load_official(*copied, available=1000)


def test_the_ibq_keys_missing_from_a_ckpt_are_named(official, tmp_path):
    folder = shutil.copytree(official[1], tmp_path / "vision")
    weights = IbqTokenizer(IBQ).state_dict()
    del weights["quant_conv.bias"]
    torch.save(weights, folder / "model.ckpt")
    refused((official[0], folder), r"lacks 1 tensors: quant_conv\.bias")


def refused(folders, message: str) -> None:
    with pytest.raises(CheckpointError, match=message) as caught:
        load_official(*folders)
    assert "\n" not in str(caught.value)


class Trap:
    """Unpickling it would end the test run."""

    def __reduce__(self):
        return exit, (3,)


class Alone:
    def write(self, layer):
        return None

    def attend(self, layer, q, k, v):
        from roam.kernels.attention import attend

        return attend(q, k, v, causal=True)


def test_an_80_gb_card_is_planned_for_what_the_task_takes_and_not_for_the_whole_context():
    plan = Footprint(OFFICIAL, PageConfig(), vision=455_336_963, device="cuda:0", available=79 * GIB, budget=5_300)
    assert plan.fits and 72 * GIB < plan.total < 73.5 * GIB and "2 sequences of 5300 tokens" in plan.report()
    long = replace(plan, budget=None)
    assert not long.fits and long.shortened().pages.context == 16_384 and long.shortened().fits
    assert replace(plan, budget=9_000, available=70 * GIB).shortened().tokens == 9_000  # no shorter one fits either


def test_the_tokens_that_are_planned_for_are_no_fewer_than_an_answer_has(official):
    from roam.world.emu.answer import AnswerWriter, Request, planned_tokens
    from roam.world.emu.prompts import preset

    pixels = np.zeros((50, 90, 3), np.uint8)
    for task in ("t2i", "x2i", "howto"):
        images = () if task == "t2i" else (pixels, pixels)
        request = Request(task, "a rêd door", images, preset(task, area=40 * 80, max_tokens=30))
        writer = AnswerWriter(load_official(*official), request)
        assert len(writer.prompt) + 30 <= planned_tokens(request) < len(writer.prompt) + 200
        writer.close()


def test_a_context_beyond_the_trained_one_is_allowed_with_a_word_and_one_that_does_not_fit_is_shortened(official):
    said = []
    assert load_official(*official, context=9000, say=said.append).pages.context == 9000
    assert "a context of 9000 tokens, where the weights were trained for 4096" in said[0]
    said.clear()
    assert load_official(*official, say=said.append).pages.context == 4096 and "trained for" not in "".join(said)


def test_swapped_folders_are_named_as_such(official):
    refused(official[::-1], "is a vision tokenizer and .* a language model: name them the other way round")
    refused((official[0], official[0]), "is a language model, and stands where the vision tokenizer's folder is wanted")
    refused((official[1], official[1]), "is a vision tokenizer, and stands where the language model's folder is wanted")


@pytest.fixture
def folders(official, tmp_path) -> Path:
    """Copies of both folders, to be damaged."""
    for folder in official:
        shutil.copytree(folder, tmp_path / folder.name)
    return tmp_path


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        (f"model/{SHARD}", POINTER, r"is torn .*a pointer of Git LFS: `git lfs pull`"),
        (f"model/{INDEX}", POINTER, "a pointer of Git LFS"),
        ("model/config.json", POINTER, "a pointer of Git LFS"),
        ("vision/model.ckpt", POINTER, "a pointer of Git LFS"),
        ("vision/model.ckpt", b"", r"model\.ckpt is torn or holds more than tensors"),
        ("vision/model.ckpt", b"torn", r"is not executed \([^.]*\); download it again"),
        ("vision/config.yaml", b"", "holds no settings"),
        ("vision/config.yaml", b"- a\n- b", "holds no settings"),
        ("vision/config.yaml", NOISE, "is torn or no YAML"),
        (f"model/{INDEX}", b'{"weight_map": ["a"]}', "does not say which file holds which tensor"),
        (f"model/{INDEX}", b'{"weight_map": {"lm_head.weight": 3}}', "does not say which file holds which tensor"),
        (f"model/{BPE_FILE}", b"", "is empty; copy it again"),
        (f"model/{VISION_FILE}", NOISE, "is torn or no text"),
    ],
)
def test_a_file_that_is_not_what_it_should_be_is_named(folders, name, content, message, monkeypatch):
    (folders / name).write_bytes(content)
    if name.startswith("vision"):
        monkeypatch.setattr(checkpoint, "load_transformer", lambda *args, **options: pytest.fail("read for nothing"))
    with pytest.raises((CheckpointError, TokenizerError), match=message):
        load_official(folders / "model", folders / "vision")


def test_weights_that_another_program_quantised_are_refused(folders):
    shard = folders / "model" / SHARD
    save_file({key: weight.to(torch.int8) for key, weight in load_file(shard).items()}, shard)
    with pytest.raises(CheckpointError, match=r"tensors that are no F32 or F16 or BF16, .* name the original weights"):
        load_official(folders / "model", folders / "vision")


def test_a_setting_that_is_no_number_is_named(folders):
    path = folders / "model" / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_hidden_layers": "2"}))
    with pytest.raises(CheckpointError, match="sets num_hidden_layers to '2', where a number is wanted"):
        load_official(folders / "model", folders / "vision")


def test_a_folder_that_is_not_there_is_not_called_another_model(folders):
    for call in (
        lambda: open_engine(folders / "nowhere", official=OfficialOptions(vision=folders / "vision")),
        lambda: load_official(folders / "nowhere", folders / "vision"),
    ):
        with pytest.raises(CheckpointError, match=r"nowhere.* is (not there|missing); name a folder .*download"):
            call()


def test_a_full_gpu_ends_a_command_with_a_sentence(official, tmp_path, monkeypatch, capsys):
    def full(*args, **options):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB.\nSee the documentation")

    monkeypatch.setattr(checkpoint, "load_transformer", full)
    folders = ["--model", str(official[0]), "--vision-tokenizer", str(official[1])]
    with pytest.raises(SystemExit) as ended:
        main(["generate", "a hall", "--task", "t2i", *folders, "--device", "cpu", "--out", str(tmp_path / "out")])
    said = capsys.readouterr().err
    assert ended.value.code == 2 and "Tried to allocate 2.00 GiB" in said and "--precision" in said
    assert "documentation" not in said
