"""Generates text from token prompts: in batches, or streamed. Ends at the end tokens that training used."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, replace
from inspect import signature
from threading import Event, Thread
from typing import Any

import torch
from transformers import DynamicCache, GenerationConfig, GenerationMixin, TextIteratorStreamer
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from tunesmith.data.tokenizer import ChatTemplate, Tokenizer

CACHE = "cache" if "cache" in signature(GenerationMixin.prepare_inputs_for_generation).parameters else "past_key_values"
"""What this version of transformers calls the states that a model keeps."""
PLAIN_LAYERS: tuple[type, ...] = (DynamicLayer, DynamicSlidingWindowLayer)
"""Layers of what a model keeps that are keys and values alone, of which rows can be taken out."""
STAGE = 32
"""Tokens after which answers that have ended leave their batch."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. `temperature` 0 takes the likeliest."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int = 42


@dataclass(frozen=True)
class ModelVariant:
    """The tuned model, or its base: a model of its own, or the same weights with the adapter disabled."""

    name: str
    model: Any
    adapter_off: bool = False

    def activate(self) -> AbstractContextManager[Any]:
        """Return the context in which `model` computes as this variant."""
        return self.model.disable_adapter() if self.adapter_off else nullcontext()


def end_tokens(model: Any | None, tokenizer: Tokenizer, template: ChatTemplate | None) -> list[int]:
    """Return the tokens that end an answer: the tokenizer's and the model's end token, and the template's turn end.

    A model at a server, for which `model` is None, ends at its own end token anyway.
    """
    found = {tokenizer.eos_token_id}
    if model is not None:
        configured = model.generation_config.eos_token_id
        found |= set(configured if isinstance(configured, list) else [configured])
    if template and (text := template.turn_end()):
        found.add(tokenizer.convert_tokens_to_ids(text))
    return sorted(found - {None})


def generate(
    variant: ModelVariant,
    prompts: Sequence[Sequence[int]],
    tokenizer: Tokenizer,
    sampling: Sampling,
    *,
    ends: list[int],
    batch_size: int,
    advance: Callable[[int], object] = lambda count: None,
) -> list[str]:
    """Return the answer to each prompt. Prompts of like length go together, so that little is padded.

    The longest come first: if memory is short, that is known at once.

    Args:
        variant: the model.
        prompts: token ids of each prompt.
        tokenizer: turns ids into text.
        sampling: how tokens are chosen.
        ends: ids of tokens that end an answer; they are not part of it.
        batch_size: answers made at once.
        advance: called with the number of answers made.
    """
    answers = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]), reverse=True)
    torch.manual_seed(sampling.seed)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        width = max(len(prompts[index]) for index in chosen)
        pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
        padding = [width - len(prompts[index]) for index in chosen]
        device = variant.model.device
        ids = torch.tensor(
            [[pad] * left + list(prompts[i]) for i, left in zip(chosen, padding, strict=True)], device=device
        )
        mask = torch.tensor([[0] * left + [1] * (width - left) for left in padding], device=device)
        with variant.activate(), torch.no_grad(), _states_in_one_piece(variant.model):
            for row, tokens in _completed(variant.model, ids, mask, sampling, ends, pad):
                answers[chosen[row]] = tokenizer.decode(_until_end(tokens, ends), skip_special_tokens=True)
                advance(1)
    return answers


def _completed(
    model: Any, ids: torch.Tensor, mask: torch.Tensor, sampling: Sampling, ends: list[int], pad: int
) -> Iterator[tuple[int, list[int]]]:
    """Yield rows of a batch and their new tokens as they end; a row that has ended takes no more time.

    After each `STAGE` tokens the others go on from what the model has kept of them. If that is more than keys and
    values, as with linear attention, they are done anew after the first stage, and to their end.
    """
    width, rows = ids.shape[1], list(range(len(ids)))
    kept: Any = None
    while rows:
        length = sampling.max_new_tokens - (ids.shape[1] - width)
        if kept is not None or ids.shape[1] == width:
            length = min(STAGE, length)
        made = model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=_settings(replace(sampling, max_new_tokens=length), ends, pad),
            **({} if kept is None else {CACHE: kept}),
        )
        ids, kept = made.sequences, _divisible(made.get(CACHE))
        is_last = ids.shape[1] - width >= sampling.max_new_tokens
        going: list[int] = []
        for place, tokens in enumerate(ids[:, width:].tolist()):
            if is_last or not set(ends).isdisjoint(tokens):
                yield rows[place], tokens
            else:
                going.append(place)
        mask = torch.nn.functional.pad(mask, (0, ids.shape[1] - mask.shape[1]), value=1)
        if len(going) < len(rows):
            chosen = torch.tensor(going, dtype=torch.long, device=ids.device)
            rows, ids, mask = [rows[place] for place in going], ids[chosen], mask[chosen]
            if kept is not None and rows:
                kept.batch_select_indices(chosen)


def _divisible(kept: Any) -> Any:
    """Return what a model has kept if rows can be taken out of it, else None."""
    plain = isinstance(kept, DynamicCache) and all(type(layer) in PLAIN_LAYERS for layer in kept.layers)
    return kept if plain else None


@contextmanager
def _states_in_one_piece(model: Any) -> Iterator[None]:
    """Give the head the last states of a batch in memory of their own while the context lasts.

    transformers passes a slice of all states, for which torch on a CPU copies the head's weights once for each row:
    measured for 16 rows of the built-in model in bf16, 1.6 seconds and 800 MB in place of 7 milliseconds.
    """
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda module, inputs: (inputs[0].contiguous(), *inputs[1:]))
    try:
        yield
    finally:
        hook.remove()


def stream(
    variant: ModelVariant, prompt: Sequence[int], tokenizer: Tokenizer, sampling: Sampling, *, ends: list[int]
) -> Iterator[str]:
    """Yield the answer to one prompt piece by piece, as it is made. Who stops reading stops the model too."""
    texts = TextIteratorStreamer(tokenizer, skip_prompt=True, skip_special_tokens=True)
    ids = torch.tensor([list(prompt)], device=variant.model.device)
    closed = Event()
    failure: list[BaseException] = []

    def work() -> None:
        torch.manual_seed(sampling.seed)
        try:
            with variant.activate(), torch.no_grad():
                variant.model.generate(
                    input_ids=ids,
                    attention_mask=torch.ones_like(ids),
                    generation_config=_settings(sampling, ends, ends[0]),
                    stopping_criteria=[lambda tokens, scores: closed.is_set()],
                    streamer=texts,
                )
        except BaseException as error:  # raised again in the thread that reads
            failure.append(error)
            texts.end()

    thread = Thread(target=work, daemon=True)
    thread.start()
    try:
        yield from texts
    finally:
        closed.set()
        thread.join()
    if failure:
        raise failure[0]


def _settings(sampling: Sampling, ends: list[int], pad: int) -> GenerationConfig:
    """Return transformers' settings; those of the model's own file are left out, so that ours are all there is."""
    random = sampling.temperature > 0
    return GenerationConfig(
        max_new_tokens=sampling.max_new_tokens,
        do_sample=random,
        temperature=sampling.temperature if random else None,
        top_p=sampling.top_p if random else None,
        top_k=sampling.top_k if random else None,
        repetition_penalty=sampling.repetition_penalty,
        eos_token_id=ends,
        pad_token_id=pad,
        return_dict_in_generate=True,
    )


def _until_end(tokens: list[int], ends: list[int]) -> list[int]:
    stop = next((index for index, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[:stop]
