"""Loading: every layout, strictness both ways, what is refused, and how much memory it takes."""

from __future__ import annotations

import dataclasses
import json
import shutil
from pathlib import Path

import pytest
import torch
from conftest import golden_dir
from safetensors.torch import load_file, save_file

from vila_core.errors import CheckpointError, ConfigError
from vila_core.models.stored.checkpoint import load_checkpoint
from vila_core.models.stored.config_reader import read_checkpoint_config
from vila_core.models.tokenizer import Tokenizer
from vila_core.random_checkpoints.make import make_random
from vila_core.random_checkpoints.shapes import SHAPES, tiny
from vila_tools.benchmark.load import measure_load
from vila_tools.checkpoint.info import checkpoint_facts
from vila_tools.cli import main as vila

FAMILIES = {
    "vila15_tiny": ("vila1.5", "native", "column", "vicuna_v1"),
    "vila15_s2_tiny": ("vila1.5", "native", "column", "vicuna_v1"),
    "navila_tiny": ("navila", "native", "column", "llama_3"),
    "nvila_tiny": ("nvila", "nvila", "row", None),
    "nvila_lite_tiny": ("nvila-lite", "nvila", "row", None),
    "nvila_video_tiny": ("nvila-video", "nvila", "row", None),
}


def random_checkpoint(folder, like="nvila-lite-2b", **options):
    make_random(folder, tiny(SHAPES[like]), name=like, **options)
    return folder


@pytest.fixture(scope="module")
def lite(tmp_path_factory):
    return random_checkpoint(tmp_path_factory.mktemp("random") / "lite")


@pytest.fixture
def copy_of_lite(lite, tmp_path):
    return Path(shutil.copytree(lite, tmp_path / "copy"))


def edit(file, **changes):
    raw = json.loads(file.read_text())
    raw.update(changes)
    file.write_text(json.dumps({key: value for key, value in raw.items() if value is not ...}))


@pytest.mark.parametrize("name", FAMILIES)
def test_a_checkpoint_tells_its_family(name):
    folder = golden_dir("vila") / "checkpoints" / name
    config = read_checkpoint_config(folder)
    family, generation, order, template = FAMILIES[name]
    assert (config.family, config.generation, config.projector.order) == (family, generation, order)
    assert template in (None, config.chat_template)
    assert config.decoding.max_length == (4096 if generation == "native" else 8192)
    assert config.decoding.do_sample is False
    assert config.navigation.prompt_style == ("navila" if family == "navila" else "vila")


def test_the_token_order_can_be_overridden():
    folder = golden_dir("vila") / "checkpoints" / "vila15_tiny"
    assert load_checkpoint(folder).projector.order == "column"
    assert load_checkpoint(folder, token_order="row").projector.order == "row"


def test_an_old_transformers_version_means_column_major(tmp_path):
    folder = Path(shutil.copytree(golden_dir("vila") / "checkpoints" / "nvila_tiny", tmp_path / "old"))
    (folder / "config.json").chmod(0o644)
    for version, order in (("4.36.2", "column"), ("4.40.0", "row"), ("5.1.0.dev0", "row")):
        edit(folder / "config.json", transformers_version=version)
        assert read_checkpoint_config(folder).projector.order == order


@pytest.mark.parametrize("like", SHAPES)
def test_every_family_loads_from_random_weights(like, tmp_path):
    model = load_checkpoint(random_checkpoint(tmp_path / like, like))
    facts = checkpoint_facts(tmp_path / like)
    assert facts["family"] == ("navila" if like == "navila-8b" else facts["family"])
    assert facts["parameters"]["all"] == sum(weight.numel() for weight in model.parameters())
    assert len(model.vision_tower.encoder.layers) == 2  # of 3: the last never influences the result


@pytest.mark.parametrize("like", ["nvila-lite-2b", "nvila-8b"])
def test_all_layouts_hold_the_same_weights(like, tmp_path):
    classic = load_checkpoint(random_checkpoint(tmp_path / "classic", like, shard_mb=0))
    preview = load_checkpoint(random_checkpoint(tmp_path / "preview", like, layout="hf-preview", shard_mb=0.1))
    assert len(list((tmp_path / "preview" / "llm").glob("*.safetensors"))) > 1
    assert (classic.config.layout, preview.config.layout) == ("classic", "hf-preview")
    for one, other in zip(classic.parameters(), preview.parameters(), strict=True):
        assert torch.equal(one, other)
    flat = tmp_path / "flat"
    random_checkpoint(flat, like, layout="hf")
    tensors = {}
    for part in ("llm", "vision_tower", "mm_projector"):
        stored = load_file(tmp_path / "classic" / part / "model.safetensors")
        tensors |= {f"{part}.{name}": tensor for name, tensor in stored.items()}
    save_file(tensors, flat / "model.safetensors")
    loaded = load_checkpoint(flat)
    assert loaded.config.layout == "hf"
    assert dataclasses.replace(loaded.config.images, s2_max_split_size=0) == dataclasses.replace(
        classic.config.images, s2_max_split_size=0
    )
    for one, other in zip(classic.parameters(), loaded.parameters(), strict=True):
        assert torch.equal(one, other)


def test_a_directory_model_inside_is_descended_into(lite, tmp_path):
    shutil.copytree(lite, tmp_path / "model")
    assert load_checkpoint(tmp_path).config.family == "nvila-lite"


@pytest.mark.parametrize("precision", ["float32", "float16", "bfloat16"])
def test_weights_are_those_of_the_file_in_the_asked_precision(lite, precision):
    model = load_checkpoint(lite, precision=precision)
    stored = load_file(lite / "llm" / "model.safetensors")
    assert torch.equal(
        model.language_model.layers[0].mlp.up_proj.weight,
        stored["model.layers.0.mlp.up_proj.weight"].to(getattr(torch, precision)),
    )


@pytest.mark.parametrize("part", ["llm", "vision_tower", "mm_projector"])
def test_a_missing_or_unexpected_tensor_or_wrong_shape_is_named(copy_of_lite, part):
    file = copy_of_lite / part / "model.safetensors"
    tensors = load_file(file)
    name = next(name for name in sorted(tensors) if "layers.2" not in name and "post_" not in name)
    save_file({key: value for key, value in tensors.items() if key != name}, file)
    with pytest.raises(CheckpointError, match=name.rpartition(".")[0].split("model.")[-1]):
        load_checkpoint(copy_of_lite)
    save_file({**tensors, "surplus.weight": torch.zeros(2)}, file)
    with pytest.raises(CheckpointError, match=r"unexpected tensor 'surplus\.weight'"):
        load_checkpoint(copy_of_lite)
    save_file({**tensors, name: torch.zeros(3, 3, 3, 3, 3)}, file)
    with pytest.raises(CheckpointError, match=r"expected shape \[.*got \[3, 3, 3, 3, 3\]"):
        load_checkpoint(copy_of_lite)


def test_a_stray_tensor_behind_the_selected_layer_is_not_taken_for_unused(copy_of_lite):
    file = copy_of_lite / "vision_tower" / "model.safetensors"
    stray = "vision_model.encoder.layers.9.mlp.fc1.weight"
    save_file({**load_file(file), stray: torch.zeros(2)}, file)
    with pytest.raises(CheckpointError, match=stray):
        load_checkpoint(copy_of_lite)


def test_an_untied_head_must_be_there(copy_of_lite):
    edit(copy_of_lite / "llm" / "config.json", tie_word_embeddings=False)
    with pytest.raises(CheckpointError, match=r"lm_head\.weight"):
        load_checkpoint(copy_of_lite)


def test_pickles_are_not_loaded(copy_of_lite):
    (copy_of_lite / "llm" / "model.safetensors").rename(copy_of_lite / "llm" / "pytorch_model.bin")
    with pytest.raises(CheckpointError, match="pickle files"):
        load_checkpoint(copy_of_lite)
    index = {"weight_map": {"model.norm.weight": "pytorch_model.bin"}}
    (copy_of_lite / "llm" / "model.safetensors.index.json").write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match="only safetensors"):
        load_checkpoint(copy_of_lite)


def test_files_that_are_cut_short_or_missing_are_named(copy_of_lite, tmp_path):
    file = copy_of_lite / "llm" / "model.safetensors"
    whole = file.read_bytes()
    for size in (0, 7, 100, len(whole) // 2, len(whole) - 1):
        file.write_bytes(whole[:size])
        with pytest.raises(CheckpointError, match=r"llm/model\.safetensors"):
            load_checkpoint(copy_of_lite)
    sharded = random_checkpoint(tmp_path / "sharded", shard_mb=0.1)
    shard = sorted((sharded / "llm").glob("*.safetensors"))[1]
    shard.unlink()
    with pytest.raises(CheckpointError, match=shard.name):
        load_checkpoint(sharded)


@pytest.mark.parametrize("kind", ["intern_vit_6b", "radio", "ps3", None])
def test_another_vision_tower_is_named_with_what_is_supported(copy_of_lite, kind):
    edit(copy_of_lite / "vision_tower" / "config.json", model_type=kind)
    with pytest.raises(CheckpointError, match=f"{kind!r} is not supported; supported: siglip"):
        load_checkpoint(copy_of_lite)


@pytest.mark.parametrize(
    ("file", "changes", "words"),
    [
        ("config.json", {"model_type": "llava_mistral"}, "'llava_mistral' is not supported"),
        ("config.json", {"ps3": True}, "'ps3' is not supported"),
        ("config.json", {"mm_vision_select_layer": -9}, "does not fit a tower of 3 layers"),
        ("config.json", {"mm_vision_select_feature": "cls"}, "'cls' is not supported"),
        ("config.json", {"video_encoder": "{"}, "is not JSON"),
        ("config.json", {"video_encoder": {"_target_": "a.PoolEncoder"}}, "'PoolEncoder' is not supported"),
        ("config.json", {"s2": True, "s2_scales": "a,b"}, "is not a list of whole numbers"),
        ("config.json", {"min_tiles": 5, "max_tiles": 4}, "do not fit"),
        ("llm/config.json", {"model_type": "mistral"}, "'mistral' is not supported"),
        ("llm/config.json", {"rope_scaling": {"rope_type": "llama3", "factor": 8}}, "'llama3' is not supported"),
        ("llm/config.json", {"hidden_size": ...}, "lacks the key 'hidden_size'"),
        ("mm_projector/config.json", {"mm_projector_type": "perceiver"}, "'perceiver' is not supported"),
        ("mm_projector/config.json", {"mm_projector_type": ...}, "lacks the key 'mm_projector_type'"),
    ],
)
def test_what_is_not_supported_is_said(copy_of_lite, file, changes, words):
    edit(copy_of_lite / file, **changes)
    with pytest.raises(CheckpointError, match=words):
        load_checkpoint(copy_of_lite)


def test_a_tokenizer_may_be_of_slow_files_and_must_be_whole(tmp_path):
    folder = Path(shutil.copytree(golden_dir("vila") / "checkpoints" / "nvila_lite_tiny" / "llm", tmp_path / "llm"))
    folder.chmod(0o755)
    text = "Don't turn  12 degrees, Größe\n\n<image><|im_start|>x"
    fast = Tokenizer(folder)
    (folder / "tokenizer.json").unlink()
    assert Tokenizer(folder).encode(text) == fast.encode(text)
    (folder / "vocab.json").unlink()
    with pytest.raises(CheckpointError, match="holds no tokenizer"):
        Tokenizer(folder)
    (folder / "tokenizer.json").write_text("{}")
    with pytest.raises(CheckpointError, match="cannot be read"):
        Tokenizer(folder)


def test_a_linear_rope_is_stretched(copy_of_lite):
    edit(copy_of_lite / "llm" / "config.json", rope_scaling={"type": "linear", "factor": 2.0})
    assert load_checkpoint(copy_of_lite).config.language.rope_factor == 2.0


@pytest.mark.long
def test_loading_takes_little_more_memory_than_the_weights(tmp_path):
    shape = tiny(SHAPES["nvila-lite-2b"])
    big = dataclasses.replace(shape.decoder, hidden_size=1024, intermediate_size=8192, layers=8, vocab_size=32768)
    make_random(tmp_path / "big", dataclasses.replace(shape, decoder=big), name="big")
    for precision in ("bfloat16", "float32"):
        figures = measure_load(tmp_path / "big", precision=precision)
        assert figures["weights_mb"] > 450 * (1 + (precision == "float32"))
        assert figures["peak_over_weights_without_start"] < 1.1


def test_the_programs_print_json_last(tmp_path, capsys):
    out = tmp_path / "made"
    assert vila(["make-random", "--like", "nvila-8b", "--tiny", "--out", str(out)]) == 0
    assert json.loads(capsys.readouterr().out.splitlines()[-1])["checkpoint"] == str(out)
    assert vila(["info", str(out)]) == 0
    facts = json.loads(capsys.readouterr().out.splitlines()[-1])
    assert facts["kernels"].keys() == {"instruction_set", "origin", "reason"}
    assert (facts["family"], facts["tokens_per_frame"], facts["weights_mb"].keys()) == (
        "nvila",
        5,
        {"float32", "float16", "bfloat16"},
    )
    assert vila(["make-random", "--like", "nvila-8b", "--out", str(out)]) == 2
    with pytest.raises(ConfigError, match="known: vila1"):
        make_random_named("vila-9")


def make_random_named(name):
    from vila_core.random_checkpoints.shapes import model_shape

    return model_shape(name)


def test_the_table_of_tokens_may_stay_in_its_16_bits(tmp_path):
    untied = random_checkpoint(tmp_path / "untied", like="navila-8b")
    plain = load_checkpoint(untied)
    narrow = load_checkpoint(untied, narrow_table=True)
    table = narrow.language_model.embed_tokens
    assert plain.language_model.embed_tokens.weight.dtype == torch.float32
    assert table.weight.dtype == torch.bfloat16 and narrow.dtype == torch.float32
    ids = torch.tensor([[1, 5], [0, 7]])
    assert torch.equal(table(ids), plain.language_model.embed_tokens(ids))
    assert load_checkpoint(untied, precision="bfloat16", narrow_table=True).dtype == torch.bfloat16


def test_a_table_that_is_the_head_too_is_not_kept_narrow(lite):
    model = load_checkpoint(lite, narrow_table=True)
    assert model.language_model.lm_head is None
    assert model.language_model.embed_tokens.weight.dtype == torch.float32
