"""A local model with the interface of an endpoint: a base model, or the model of a run."""

import hashlib
import sys
from collections.abc import Iterator
from functools import cached_property
from itertools import groupby
from pathlib import Path
from threading import Event

from tunesmith.config.folder import load_folder
from tunesmith.data.formats.format import FormatSpec
from tunesmith.data.tokenizer import chat_template
from tunesmith.generation.budget import Budget, Stopped
from tunesmith.generation.exchange import Completion, Refused, Request
from tunesmith.generation.session import GenerationSession, open_session
from tunesmith.generation.variants import load_base_variant
from tunesmith.hardware import detect
from tunesmith.modeling.generate import Sampling, find_stop_tokens, generate
from tunesmith.modeling.tokenizer import model_tokenizer
from tunesmith.sections import Dataset, ModelSection


class LocalModel:
    """A model that is loaded at the first request."""

    def __init__(self, name: str, source: str, budget: Budget) -> None:
        """Store the model's name, as in `base_model`, or the folder of a run."""
        self._name = name
        self._source = source
        self._budget = budget

    @property
    def identity(self) -> str:
        """The name, and for a folder a hash of its weights' state, so that cached replies match the weights."""
        weights = sorted(Path(self._name).glob("*.safetensors"))
        state = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in weights]
        return self._name + (hashlib.sha256(repr(state).encode()).hexdigest() if state else "")

    @cached_property
    def _session(self) -> GenerationSession:
        folder = Path(self._name)
        if (folder / "run/config.yml").exists() or (folder.parent / "run/config.yml").exists():
            return open_session(load_folder(self._name), tuned=True, base=False, system="")
        section = ModelSection(base_model=self._name)
        tokenizer = model_tokenizer(section)
        variant = load_base_variant(section, detect())
        template = chat_template(tokenizer, None, None, self._source)
        spec = FormatSpec(Dataset(path=self._name, type="chat_template"), template=template, source=self._source)
        stop_tokens = find_stop_tokens(variant.model, tokenizer, template)
        return GenerationSession([variant], tokenizer, spec, stop_tokens, None)

    def complete(self, requests: list[Request], stop: Event) -> Iterator[Completion | Refused]:
        """Yield the completion of each request. Neighboring requests with equal sampling are one batch.

        Raises:
            ModelError: there is no such model.
            Stopped: a limit is reached.
        """
        for _, batch in groupby(requests, key=lambda request: (request.temperature, request.max_tokens)):
            yield from self._complete_batch(list(batch))

    def _complete_batch(self, requests: list[Request]) -> Iterator[Completion | Refused]:
        session, first = self._session, requests[0]
        settings = session.variants[0].model.config.get_text_config().to_dict()
        longest = (settings.get("max_position_embeddings") or sys.maxsize) - first.max_tokens
        prompts = [session.prompt(request.messages) for request in requests]
        accepted: list[list[int]] = []
        limit_error: Stopped | None = None
        for prompt in prompts:
            if len(prompt) > longest:
                continue
            try:
                self._budget.begin()
            except Stopped as error:  # raised after the completions within the limit
                limit_error = error
                break
            accepted.append(prompt)
        texts = iter(self._generate(accepted, first) if accepted else ())
        for prompt in prompts:
            if len(prompt) > longest:
                yield Refused(f"the prompt has {len(prompt)} tokens, and with `max_tokens` the model takes {longest}")
            elif (text := next(texts, None)) is not None:
                length = len(session.tokenizer(text, add_special_tokens=False).input_ids)
                yield Completion(text, len(prompt), length, length >= first.max_tokens)
            elif limit_error:
                raise limit_error

    def _generate(self, prompts: list[list[int]], request: Request) -> list[str]:
        session = self._session
        sampling = Sampling(max_new_tokens=request.max_tokens, temperature=request.temperature, seed=request.seed)
        return generate(
            session.variants[0],
            prompts,
            session.tokenizer,
            sampling,
            ends=session.stop_tokens,
            hidden=session.hidden_tokens,
            batch_size=len(prompts),
        )
