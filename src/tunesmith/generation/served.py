"""Answers of a served model: an endpoint, or vLLM, which is started here for the time of the evaluation.

The server gets the trained token ids, not messages that it would render itself.
"""

import json
import os
import re
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NamedTuple

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
from tunesmith.modeling.generate import find_hidden_tokens, find_stop_tokens
from tunesmith.modeling.precision import choose_precision
from tunesmith.sections import Config, EndpointSection, Evaluation

START_SECONDS = 1800
"""vLLM must have loaded its model by then; it may download the weights first."""
LORA_RANKS = (8, 16, 32, 64, 128, 256, 320, 512)
"""The values that vLLM accepts as `--max-lora-rank`."""


class Launch(NamedTuple):
    """A vLLM server to start: the model's folder or name, further arguments, and the names of the served models."""

    model: str
    options: list[str]
    names: list[str]


def check_local(section: Evaluation, user: str) -> None:
    """Raise a ConfigError if the answers of an evaluation come from a server, which `user` cannot use."""
    if section.endpoint or section.backend == "vllm":
        key = "endpoint" if section.endpoint else "backend: vllm"
        raise ConfigError(f"{user} needs the model itself, not a server: remove `evaluation.{key}`")


def check_served(config: Config, *, tuned: bool) -> None:
    """Check that the server of a config, if there is one, can serve the requested models.

    Raises:
        ConfigError: it cannot, or vLLM is not installed.
        ModelError: nothing is trained yet.
    """
    section, adapter, model = config.evaluation.evaluation, config.adapter, config.model
    if section.endpoint and not tuned:
        raise ConfigError("--base: `evaluation.endpoint` stands for the tuned model; remove one of them")
    if section.backend != "vllm":
        return
    _find_vllm()
    folder = find_trained_folder(config) if tuned else ""
    saved = _saved_settings(folder) if folder and adapter.adapter else {}
    unsupported = {
        "load_in_4bit": model.load_in_4bit,
        "load_in_8bit": model.load_in_8bit,
        "peft_use_dora": adapter.peft_use_dora or saved.get("use_dora"),
        "lora_modules_to_save": adapter.lora_modules_to_save or saved.get("modules_to_save"),
        "peft_trainable_token_indices": adapter.peft_trainable_token_indices or saved.get("trainable_token_indices"),
    }
    for key, is_set in unsupported.items():
        if is_set:
            raise ConfigError(
                f"vLLM cannot serve an adapter trained with `{key}` on its base: run tunesmith merge-lora, serve the "
                "merged model with vllm serve, and set `evaluation.endpoint` instead of `backend: vllm`"
            )


def _saved_settings(folder: str) -> dict[str, Any]:
    settings: dict[str, Any] = json.loads((Path(folder) / "adapter_config.json").read_text(encoding="utf-8"))
    return settings


def _find_vllm() -> str:
    path = shutil.which("vllm") or shutil.which("vllm", path=str(Path(sys.executable).parent))
    if not path:
        raise ConfigError("`evaluation.backend: vllm` needs vLLM, which is not installed: pip install vllm")
    return path


def get_served_answers(
    config: Config, hardware: Hardware, eval_rows: Sequence[Asked], tokenizer: Tokenizer, *, base: bool, tuned: bool
) -> dict[str, list[str]]:
    """Return the answers of each served model by its name; none if the config has no server.

    Raises:
        ConfigError: no row has a prompt, vLLM is not installed, or the server does not have the model.
        RunError: a server does not start or answer, or refuses a prompt.
    """
    section = config.evaluation.evaluation
    if not section.endpoint and section.backend != "vllm":
        return {}
    if not eval_rows:
        raise ConfigError("no eval row has a prompt, so there is nothing to send to a server")
    if section.endpoint:
        name = section.endpoint.model
        if name in ("base", "baseline"):  # names of other variants in a report
            name += " (served)"
        return {name: request_answers(section.endpoint, config, eval_rows, tokenizer)}
    answers: dict[str, list[str]] = {}
    for launch in _plan_launches(config, base=base, tuned=tuned):
        port, log = free_port(), Path(config.training.output_dir) / "evaluation/vllm.log"
        log.parent.mkdir(parents=True, exist_ok=True)
        length = max(len(row.question.input_ids) for row in eval_rows) + section.max_new_tokens
        options = ["--host", "127.0.0.1", "--port", str(port), "--max-model-len", str(length), *launch.options]
        options += ["--dtype", choose_precision(config.model, hardware).frozen]
        note(f"vllm serve {launch.model}: its output is in {log}")
        command = [_find_vllm(), "serve", launch.model, *options]
        with running("vllm serve", command, port, log, dict(os.environ), START_SECONDS):
            for name in launch.names:
                server = EndpointSection(
                    model=name,
                    base_url=f"http://127.0.0.1:{port}/v1",
                    api_key_env="VLLM_API_KEY" if os.environ.get("VLLM_API_KEY") else None,  # vLLM requires it then
                    concurrency=section.batch_size,
                    timeout=600,
                )
                answers[name] = request_answers(server, config, eval_rows, tokenizer)
    return answers


def _plan_launches(config: Config, *, base: bool, tuned: bool) -> list[Launch]:
    """Return the servers to start: one for base and adapter, or one after the other for two full models."""
    model, adapter = config.model, config.adapter
    common = ["--trust-remote-code"] if model.trust_remote_code else []
    common += ["--tokenizer", model.tokenizer_config] if model.tokenizer_config else []
    base_options = [*common, *(["--revision", model.revision_of_model] if model.revision_of_model else [])]
    base_name = ["--served-model-name", "base"]
    base_folder, tuned_folder = local_base_model(model.base_model), find_trained_folder(config) if tuned else ""
    if tuned and adapter.adapter:
        saved = _saved_settings(tuned_folder)
        rank = max(saved["r"], *saved.get("rank_pattern", {}).values(), 0)
        max_rank = min((value for value in LORA_RANKS if value >= rank), default=rank)
        lora = ["--enable-lora", "--max-lora-rank", str(max_rank)]
        lora += ["--lora-modules", f"tuned={Path(tuned_folder).resolve()}"]
        return [Launch(base_folder, [*base_options, *lora, *base_name], ["base", "tuned"] if base else ["tuned"])]
    launches = []
    if base or not tuned:
        launches.append(Launch(base_folder, [*base_options, *base_name], ["base"]))
    if tuned:
        launches.append(Launch(tuned_folder, [*common, "--served-model-name", "tuned"], ["tuned"]))
    return launches


def request_answers(
    section: EndpointSection, config: Config, eval_rows: Sequence[Asked], tokenizer: Tokenizer
) -> list[str]:
    """Return a server's answers. They are cached only in a `cache` that the user sets: its weights may have changed.

    Raises:
        ConfigError: the server refuses the key, or does not have the model.
        RunError: it does not answer, or refuses a prompt.
    """
    stop_tokens = find_stop_tokens(None, tokenizer, eval_rows[0].template)
    max_tokens = config.evaluation.evaluation.max_new_tokens
    prompts = (_make_prompt(row, tokenizer, stop_tokens) for row in eval_rows)
    requests = [Request([], max_tokens=max_tokens, prompt=prompt) for prompt in prompts]
    replies = {}
    with TemporaryDirectory() as scratch:
        cached = section.model_copy(update={"cache": section.cache or scratch})
        title = f"answers of the model {section.model}"
        try:
            with (
                open_endpoint(cached, config.source) as server,
                progress(title, total=len(eval_rows), unit="rows") as advance,
            ):
                for index, reply in server.ask(requests):
                    replies[index] = reply
                    advance(1)
        except Stopped as error:
            raise error if section.cache else RunError(error.reason) from None
    note(f"{section.model}: {server.spent}")
    hidden_tokens = find_hidden_tokens(tokenizer, eval_rows[0].template)
    hidden = "|".join(re.escape(text) for text in tokenizer.convert_ids_to_tokens(sorted(hidden_tokens)))
    answers = []
    for index, item in enumerate(eval_rows):
        reply = replies[index]
        if isinstance(reply, Refused):
            raise RunError(f"no answer to {item.row.file}:{item.row.number}: {reply.reason}")
        answers.append(re.sub(hidden, "", reply.text))
    return answers


def _make_prompt(item: Asked, tokenizer: Tokenizer, stop_tokens: list[int]) -> Prompt:
    """Return the prompt as ids and as text. A text omits the BOS token that its tokenizer adds."""
    ids = list(item.question.input_ids)
    texts = (tokenizer.decode(ids), tokenizer.decode(ids[1:]))
    text = next((text for text in texts if tokenizer(text)["input_ids"] == ids), None)
    return Prompt(ids, text, stop_tokens, [tokenizer.decode([token]) for token in stop_tokens])
