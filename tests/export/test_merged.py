"""A merged model is a plain one that computes what the adapter computed."""

import json
import resource
import signal

import pytest
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer

from tunesmith.cli.inference import main as infer
from tunesmith.cli.merge_lora import main as merge
from tunesmith.cli.train import main as train
from tunesmith.errors import ModelError
from tunesmith.export.merged import check_merge
from tunesmith.modeling.adapters import load_adapter
from tunesmith.modeling.load import load_base_model
from tunesmith.sections import ModelSection

QUESTION = [{"role": "user", "content": "What is 3 + 3?"}]


def trained_adapter(folder, write_config, **keys):
    """Train two steps on the real model and return the YAML file."""
    config = write_config(folder, max_steps=2, warmup_steps=0, learning_rate=5e-3, save_strategy="no", **keys)
    assert train([str(config)]) == 0
    return config


@pytest.fixture(scope="module")
def lora(tmp_path_factory, write_config):
    return trained_adapter(tmp_path_factory.mktemp("lora"), write_config)


@pytest.fixture(scope="module")
def qlora(tmp_path_factory, write_config):
    return trained_adapter(tmp_path_factory.mktemp("qlora"), write_config, adapter="qlora", load_in_4bit=True)


def logits(model, tokenizer):
    ids = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    with torch.no_grad():
        return model(input_ids=ids["input_ids"]).logits


def adapter_logits(config, tokenizer, **keys):
    section = ModelSection(base_model="builtin/smollm2-135m-instruct", bf16=False, **keys)
    base = load_base_model(section, "float32")
    plain = logits(base, tokenizer)
    return logits(load_adapter(base, str(config.parent / "out")).eval(), tokenizer), plain


def test_a_merged_model_computes_what_the_adapter_did(lora, tokenizer, tmp_path, capsys):
    assert merge([str(lora.parent / "out"), "--output", str(tmp_path / "merged"), "--dtype", "float32"]) == 0
    assert f"merged model: {tmp_path}/merged (float32); on a probe text its logits differ" in capsys.readouterr().out
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    its_tokenizer = AutoTokenizer.from_pretrained(tmp_path / "merged")
    assert merged.dtype == torch.float32
    assert its_tokenizer.chat_template == tokenizer.chat_template
    expected, base = adapter_logits(lora, tokenizer)
    found = logits(merged, its_tokenizer)
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
    assert (found - base).abs().max() > 0.1
    assert json.loads((tmp_path / "merged/run/run.json").read_text())["status"] == "merged"
    assert [item.name for item in tmp_path.iterdir()] == ["merged"]


def test_by_default_it_is_written_in_bf16_beside_the_adapter(lora, tokenizer):
    assert merge([str(lora)]) == 0
    merged = AutoModelForCausalLM.from_pretrained(lora.parent / "out/merged")
    assert merged.dtype == torch.bfloat16
    expected, _ = adapter_logits(lora, tokenizer)
    found = logits(merged.float(), tokenizer)
    assert (found - expected).norm() < 0.02 * expected.norm()
    assert merge([str(lora)]) == 5


@pytest.mark.slow
def test_an_adapter_of_a_quantised_model_is_merged_into_just_that_model(qlora, tokenizer, tmp_path):
    assert merge([str(qlora), "--output", str(tmp_path / "merged"), "--dtype", "float32"]) == 0
    merged = AutoModelForCausalLM.from_pretrained(tmp_path / "merged")
    assert not hasattr(merged.config, "quantization_config")
    expected, _ = adapter_logits(qlora, tokenizer, load_in_4bit=True)
    unquantised, _ = adapter_logits(qlora, tokenizer)
    found = logits(merged, tokenizer)
    distance = (found - expected).norm()
    assert distance < 0.03 * expected.norm()  # 4-bit layers compute in bf16
    assert distance < 0.2 * (found - unquantised).norm()


@pytest.mark.slow
def test_new_tokens_of_the_built_in_model_whose_embeddings_are_tied(tmp_path, write_config, capsys):
    keys = {"tokens": ["<cell>"], "lora_modules_to_save": ["embed_tokens", "lm_head"]}
    run = trained_adapter(tmp_path, write_config, **keys).parent / "out"
    assert infer([str(run), "--prompt", "Hello", "--max-new-tokens", "2"]) == 0
    assert merge([str(run), "--dtype", "float32"]) == 0
    merged = AutoModelForCausalLM.from_pretrained(run / "merged")
    its_tokenizer = AutoTokenizer.from_pretrained(run / "merged")
    assert merged.config.tie_word_embeddings
    assert merged.lm_head.weight is merged.model.embed_tokens.weight
    section = ModelSection(base_model="builtin/smollm2-135m-instruct", bf16=False, tokens=["<cell>"])
    tuned = load_adapter(load_base_model(section, "float32"), str(run)).eval()
    torch.testing.assert_close(logits(merged, its_tokenizer), logits(tuned, its_tokenizer), atol=1e-3, rtol=0)


@pytest.mark.parametrize("change", [0.1, float("nan")])
def test_a_merge_that_computes_something_else_is_an_error(change):
    expected = torch.tensor([1.0, -2.0])
    check_merge(expected + 1e-5, expected, "out")
    with pytest.raises(ModelError, match=r"the adapter in out cannot be merged: .* these are at most 2; serve"):
        check_merge(expected + change, expected, "out")


def test_a_folder_that_is_not_empty_is_left_alone(lora, tmp_path, capsys):
    (tmp_path / "notes.txt").write_text("mine")
    assert merge([str(lora), "--output", str(tmp_path)]) == 5
    assert f"error: {tmp_path} is not empty; choose another with --output DIR" in capsys.readouterr().err
    assert [item.name for item in tmp_path.iterdir()] == ["notes.txt"]


def test_a_file_in_the_place_of_the_folder_is_left_alone(lora, tmp_path, capsys):
    (tmp_path / "file").write_text("mine")
    assert merge([str(lora), "--output", str(tmp_path / "file")]) == 5
    assert f"error: {tmp_path}/file is a file; choose a folder with --output DIR" in capsys.readouterr().err


def test_a_config_without_an_adapter_has_nothing_to_merge(write_config, tmp_path, capsys):
    config = write_config(tmp_path, adapter=None, lora_r=None, lora_target_linear=None)
    assert merge([str(config)]) == 2
    assert "error: there is no `adapter` to merge: full fine-tuning wrote a whole model" in capsys.readouterr().err


def test_an_adapter_that_was_not_trained_yet_is_missing(write_config, tmp_path, capsys):
    assert merge([str(write_config(tmp_path))]) == 4
    assert f"error: {tmp_path}/out holds no adapter" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


@pytest.fixture
def small_files():
    """No file may grow beyond 50 MiB, so that writing the weights fails."""
    limits, handler = resource.getrlimit(resource.RLIMIT_FSIZE), signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (50 * 2**20, limits[1]))
    yield
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    signal.signal(signal.SIGXFSZ, handler)


@pytest.mark.usefixtures("small_files")
def test_a_merge_that_cannot_be_written_leaves_nothing_behind(lora, tmp_path, capsys):
    assert merge([str(lora), "--output", str(tmp_path / "merged")]) == 5
    assert f"error: cannot write {tmp_path}/merged: " in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def changed(tmp_path, tokenizer, write_config):
    """The YAML of an adapter whose prompts were trained by another template than the config's: chatml."""
    from tunesmith.checks.manifest import dataset_specs, prompt_manifest, save_manifest
    from tunesmith.config.load import load

    trained = load(str(write_config(tmp_path)))
    (tmp_path / "out/run").mkdir(parents=True)
    save_manifest(prompt_manifest(tokenizer, dataset_specs(trained, tokenizer)[0]), tmp_path / "out/run")
    return write_config(tmp_path, chat_template="chatml")


def test_prompts_other_than_the_trained_ones_are_not_exported(changed, tmp_path, capsys):
    assert merge([str(changed), "--output", str(tmp_path / "merged")]) == 4
    told = capsys.readouterr().err
    assert f"prompts are not what {tmp_path}/out was trained with: the probe `single turn` differs at token 1\n" in told
    assert "`user`" in told
    assert "^\nundo the change" in told
    assert not (tmp_path / "merged").exists()
