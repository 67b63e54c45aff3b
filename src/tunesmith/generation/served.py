"""Answers of a model that a server holds: one that runs somewhere, or vLLM, started here for as long as it is asked.

The server is fed the tokens that were trained, not messages that it would render anew.
"""

import json
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import NamedTuple

from tunesmith.checks.server import free_port, running
from tunesmith.data.held_out import Asked
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.errors import ConfigError, RunError
from tunesmith.generation.endpoint import Refused, Request, Stopped, open_endpoint
from tunesmith.generation.exchange import Prompt
from tunesmith.generation.variants import find_trained_folder
from tunesmith.hardware import Hardware
from tunesmith.log import note, progress
from tunesmith.modeling.builtin import local_base_model
from tunesmith.modeling.generate import end_tokens
from tunesmith.modeling.precision import choose_precision
from tunesmith.sections import Config, EndpointSection

START_SECONDS = 1800
"""Until vLLM must have loaded its model; it may fetch the weights first."""
RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""What vLLM takes as `--max-lora-rank`."""


class Launch(NamedTuple):
    """A server of vLLM to start: the model's folder or name, further arguments, and the names to ask for."""

    model: str
    options: list[str]
    names: list[str]


def check_here(config: Config, what: str) -> None:
    """Raise a ConfigError if the answers of an evaluation come from a server, which `what` can't use."""
    section = config.evaluation.evaluation
    if section.endpoint or section.backend == "vllm":
        key = "endpoint" if section.endpoint else "backend: vllm"
        raise ConfigError(f"{what} needs the model itself, which a server does not give: remove `evaluation.{key}`")


def check_served(config: Config, *, tuned: bool) -> None:
    """Look whether the server of a config, if it names one, can hold the models that are asked for.

    Raises:
        ConfigError: it can't, or vLLM is not installed.
        ModelError: there is nothing trained yet.
    """
    section, adapter, model = config.evaluation.evaluation, config.adapter, config.model
    if section.endpoint and not tuned:
        raise ConfigError("--base: `evaluation.endpoint` stands for the tuned model; remove one of them")
    if section.backend != "vllm":
        return
    _vllm()
    if tuned:
        find_trained_folder(config)
    for key, used in (
        ("load_in_4bit", model.load_in_4bit),
        ("load_in_8bit", model.load_in_8bit),
        ("peft_use_dora", adapter.peft_use_dora),
        ("lora_modules_to_save", adapter.lora_modules_to_save),
        ("peft_trainable_token_indices", adapter.peft_trainable_token_indices),
    ):
        if used:
            raise ConfigError(
                f"vLLM cannot serve an adapter trained with `{key}` on its base: run tunesmith merge-lora, serve the "
                "merged model with vllm serve, and set `evaluation.endpoint` in place of `backend: vllm`"
            )


def _vllm() -> str:
    found = shutil.which("vllm") or shutil.which("vllm", path=str(Path(sys.executable).parent))
    if not found:
        raise ConfigError("`evaluation.backend: vllm` needs vLLM, which is not installed: pip install vllm")
    return found


def served_answers(
    config: Config, hardware: Hardware, asked: Sequence[Asked], tokenizer: Tokenizer, *, base: bool, tuned: bool
) -> dict[str, list[str]]:
    """Return the answers of each model that a server holds, by its name; none if the config names no server.

    Raises:
        ConfigError: there is nothing to ask, vLLM is not there, or the server does not know the model.
        RunError: a server does not start or answer, or refuses a prompt.
    """
    section = config.evaluation.evaluation
    if not asked and (section.endpoint or section.backend == "vllm"):
        raise ConfigError("no held-out row has a prompt, so that there is nothing to ask a server")
    if section.endpoint:
        name = section.endpoint.model
        name += " (served)" if name in ("base", "baseline") else ""  # which are names of other models of a report
        return {name: ask(section.endpoint, config, asked, tokenizer)}
    answers: dict[str, list[str]] = {}
    for launch in _launches(config, base=base, tuned=tuned) if section.backend == "vllm" else ():
        port, log = free_port(), Path(config.training.output_dir) / "evaluation/vllm.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        length = max(len(item.question.input_ids) for item in asked) + section.max_new_tokens
        options = ["--host", "127.0.0.1", "--port", str(port), "--max-model-len", str(length), *launch.options]
        options += ["--dtype", choose_precision(config.model, hardware).frozen]
        note(f"vllm serve {launch.model}: what it prints is in {log}")
        command = [_vllm(), "serve", launch.model, *options]
        with running("vllm serve", command, port, log, dict(os.environ), START_SECONDS):
            for name in launch.names:
                key = "VLLM_API_KEY" if os.environ.get("VLLM_API_KEY") else None  # vLLM would want it
                url = f"http://127.0.0.1:{port}/v1"
                server = EndpointSection(
                    model=name, base_url=url, api_key_env=key, concurrency=section.batch_size, timeout=600
                )
                answers[name] = ask(server, config, asked, tokenizer)
    return answers


def _launches(config: Config, *, base: bool, tuned: bool) -> list[Launch]:
    """Return what vLLM has to serve: base and adapter by one server, two whole models by two, one after the other."""
    model, adapter = config.model, config.adapter
    common = ["--trust-remote-code"] if model.trust_remote_code else []
    common += ["--tokenizer", model.tokenizer_config] if model.tokenizer_config else []
    of_base = [*common, *(["--revision", model.revision_of_model] if model.revision_of_model else [])]
    folder, start = find_trained_folder(config) if tuned else "", local_base_model(model.base_model)
    if tuned and adapter.adapter:
        saved = json.loads((Path(folder) / "adapter_config.json").read_text(encoding="utf-8"))
        rank = max(saved["r"], *saved.get("rank_pattern", {}).values(), 0)
        lora = ["--enable-lora", "--max-lora-rank", str(min((size for size in RANKS if size >= rank), default=rank))]
        lora += ["--lora-modules", f"tuned={Path(folder).resolve()}", "--served-model-name", "base"]
        return [Launch(start, [*of_base, *lora], ["base", "tuned"] if base else ["tuned"])]
    launches = [Launch(start, [*of_base, "--served-model-name", "base"], ["base"])] if base or not tuned else []
    return launches + ([Launch(folder, [*common, "--served-model-name", "tuned"], ["tuned"])] if tuned else [])


def ask(section: EndpointSection, config: Config, asked: Sequence[Asked], tokenizer: Tokenizer) -> list[str]:
    """Return a server's answers. They are kept only in a `cache` that the user names: it may hold other weights now.

    Raises:
        ConfigError: the server refuses the key, or does not know the model.
        RunError: it does not answer, or refuses a prompt.
    """
    ends = end_tokens(None, tokenizer, asked[0].template)
    stops = [tokenizer.decode([end]) for end in ends]
    length = config.evaluation.evaluation.max_new_tokens
    requests = [Request([], max_tokens=length, prompt=_prompt(item, tokenizer, ends, stops)) for item in asked]
    with TemporaryDirectory() as scratch:
        kept = section.model_copy(update={"cache": section.cache or scratch})
        title = f"answers of the model {section.model}"
        try:
            with (
                open_endpoint(kept, config.source) as server,
                progress(title, total=len(asked), unit="rows") as advance,
            ):
                replies = {}
                for place, reply in server.ask(requests):
                    replies[place] = reply
                    advance(1)
        except Stopped as error:
            raise error if section.cache else RunError(error.reason) from None
    note(f"{section.model}: {server.spent}")
    answers = []
    for place, item in enumerate(asked):
        if isinstance(reply := replies[place], Refused):
            raise RunError(f"no answer to {item.row.file}:{item.row.number}: {reply.reason}")
        answers.append(reply.text)
    return answers


def _prompt(item: Asked, tokenizer: Tokenizer, ends: list[int], stops: list[str]) -> Prompt:
    """Return a prompt for a server. As text it goes without the begin token that a tokenizer adds to any text."""
    ids = list(item.question.input_ids)
    texts = (tokenizer.decode(ids), tokenizer.decode(ids[1:]))
    return Prompt(ids, next((text for text in texts if tokenizer(text)["input_ids"] == ids), None), ends, stops)
