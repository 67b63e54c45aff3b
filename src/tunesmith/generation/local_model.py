"""A model of this machine that is asked as one at a server would be: a base model, or what a run has trained."""

import hashlib
import sys
from collections.abc import Iterator
from functools import cached_property
from itertools import groupby
from pathlib import Path
from threading import Event

from tunesmith.config.folder import load_folder
from tunesmith.data.formats.spec import FormatSpec
from tunesmith.data.tokenizer import chat_template
from tunesmith.generation.ask import Asker, make_asker
from tunesmith.generation.budget import Budget, Stopped
from tunesmith.generation.exchange import Completion, Refused, Request
from tunesmith.generation.voices import base_voice
from tunesmith.hardware import detect
from tunesmith.modeling.generate import Sampling, end_tokens, generate
from tunesmith.modeling.tokenizer import model_tokenizer
from tunesmith.sections import Dataset, ModelSection


class LocalModel:
    """A model that is loaded when it is first asked."""

    def __init__(self, name: str, source: str, budget: Budget) -> None:
        """Remember which model it is: a name as in `base_model`, or the folder of a run."""
        self._name = name
        self._source = source
        self._budget = budget

    @property
    def identity(self) -> str:
        """The name, and for a folder what is in it, so that replies of other weights are not taken for its own."""
        weights = sorted(Path(self._name).glob("*.safetensors"))
        state = [(file.name, file.stat().st_size, file.stat().st_mtime_ns) for file in weights]
        return self._name + (hashlib.sha256(repr(state).encode()).hexdigest() if state else "")

    @cached_property
    def _asker(self) -> Asker:
        folder = Path(self._name)
        if (folder / "run/config.yml").exists() or (folder.parent / "run/config.yml").exists():
            return make_asker(load_folder(self._name), tuned=True, base=False, system="")
        section = ModelSection(base_model=self._name)
        tokenizer = model_tokenizer(section)
        voice = base_voice(section, detect())
        template = chat_template(tokenizer, None, None, self._source)
        spec = FormatSpec(Dataset(path=self._name, type="chat_template"), template=template)
        return Asker([voice], tokenizer, spec, end_tokens(voice.model, tokenizer, template), None, self._source)

    def complete(self, requests: list[Request], stop: Event) -> Iterator[Completion | Refused]:
        """Yield what the model writes to each request. Neighbours that are drawn alike are made in one batch.

        Raises:
            ModelError: there is no such model.
            Stopped: a limit is reached.
        """
        for _, alike in groupby(requests, key=lambda request: (request.temperature, request.max_tokens)):
            yield from self._batch(list(alike))

    def _batch(self, requests: list[Request]) -> Iterator[Completion | Refused]:
        asker, first = self._asker, requests[0]
        known = asker.voices[0].model.config.get_text_config().to_dict()
        room = (known.get("max_position_embeddings") or sys.maxsize) - first.max_tokens
        prompts = [asker.prompt(request.messages) for request in requests]
        fitting: list[list[int]] = []
        stopped: Stopped | None = None
        for prompt in prompts:
            if len(prompt) > room:
                continue
            try:
                self._budget.begin()
            except Stopped as error:  # raised once those within the limit are made
                stopped = error
                break
            fitting.append(prompt)
        made = iter(self._generate(fitting, first) if fitting else ())
        for prompt in prompts:
            if len(prompt) > room:
                yield Refused(f"the prompt has {len(prompt)} tokens, and with `max_tokens` the model takes {room}")
            elif (text := next(made, None)) is not None:
                length = len(asker.tokenizer(text, add_special_tokens=False).input_ids)
                yield Completion(text, len(prompt), length, length >= first.max_tokens)
            elif stopped:
                raise stopped

    def _generate(self, prompts: list[list[int]], like: Request) -> list[str]:
        asker = self._asker
        sampling = Sampling(max_new_tokens=like.max_tokens, temperature=like.temperature, seed=like.seed)
        size = len(prompts)
        return generate(asker.voices[0], prompts, asker.tokenizer, sampling, ends=asker.ends, batch_size=size)
