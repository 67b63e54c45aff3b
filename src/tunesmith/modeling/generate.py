"""Generates text from token ids: in batches, or streamed. Stops at the stop tokens that training used."""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field, replace
from inspect import signature
from threading import Event, Thread
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import DynamicCache, GenerationConfig, GenerationMixin, TextIteratorStreamer
from transformers.cache_utils import DynamicLayer, DynamicSlidingWindowLayer

from tunesmith.data.tokenizer import ChatTemplate, Tokenizer
from tunesmith.log import note

if TYPE_CHECKING:
    from tunesmith.modeling.causal_lm import CausalLM

CACHE = "cache" if "cache" in signature(GenerationMixin.prepare_inputs_for_generation).parameters else "past_key_values"
"""The argument of this version of transformers for the KV cache."""
PLAIN_LAYERS: tuple[type, ...] = (DynamicLayer, DynamicSlidingWindowLayer)
"""Cache layers with only keys and values, from which rows can be removed."""
STAGE = 32
"""Tokens after which finished answers are dropped from the batch."""
PROBED_TOKENS = 3
"""Tokens whose logits are compared between a padded prompt and the same prompt alone."""


@dataclass(frozen=True)
class Sampling:
    """How the next token is chosen. `temperature` 0 is greedy decoding."""

    max_new_tokens: int = 256
    temperature: float = 0.0
    top_p: float = 1.0
    top_k: int = 0
    repetition_penalty: float = 1.0
    seed: int = 42


@dataclass(frozen=True)
class ModelVariant:
    """The tuned model, or its base: a model of its own, or the same weights with the adapter disabled.

    Attributes:
        name: `tuned` or `base`.
        model: the model.
        adapter_off: whether its adapter is disabled.
        probed: longest padding that was probed -> whether the model answers a padded prompt as it does alone.
    """

    name: str
    model: "CausalLM"
    adapter_off: bool = False
    probed: dict[int, bool] = field(default_factory=dict, compare=False, repr=False)

    def activate(self) -> AbstractContextManager[None]:
        """Return the context in which `model` computes as this variant."""
        return self.model.disable_adapter() if self.adapter_off else nullcontext()


def find_stop_tokens(model: "CausalLM | None", tokenizer: Tokenizer, template: ChatTemplate | None) -> list[int]:
    """Return the stop tokens: EOS of the tokenizer and of the model, and the template's end-of-turn token.

    A served model, for which `model` is None, stops at its own EOS anyway.
    """
    token_ids: set[int | None] = {tokenizer.eos_token_id}
    if model is not None:
        configured = model.generation_config.eos_token_id
        token_ids |= set(configured if isinstance(configured, list) else [configured])
    if template and (text := template.turn_end()):
        token_ids.add(tokenizer.convert_tokens_to_ids(text))
    return sorted(token_id for token_id in token_ids if token_id is not None)


def find_hidden_tokens(tokenizer: Tokenizer, template: ChatTemplate | None) -> frozenset[int]:
    """Return the control tokens that are not shown: BOS, EOS, PAD, and those that the chat template itself writes.

    Other special tokens, such as new ones that the rows contain, are a part of the answer.
    """
    own = (tokenizer.bos_token_id, tokenizer.eos_token_id, tokenizer.pad_token_id)
    texts = template.control_tokens() if template else ()
    ids = (*own, *map(tokenizer.convert_tokens_to_ids, texts))
    return frozenset(token_id for token_id in ids if token_id is not None)


def decode_answer(tokens: Sequence[int], tokenizer: Tokenizer, hidden: Collection[int]) -> str:
    """Return the text of an answer without hidden tokens."""
    return str(tokenizer.decode([token for token in tokens if token not in hidden]))


def generate(
    variant: ModelVariant,
    prompts: Sequence[Sequence[int]],
    tokenizer: Tokenizer,
    sampling: Sampling,
    *,
    ends: list[int],
    hidden: Collection[int] = (),
    batch_size: int,
    advance: Callable[[int], object] = lambda count: None,
) -> list[str]:
    """Return the answer to each prompt. Prompts of similar length form a batch, to pad little.

    The longest come first, so that a lack of memory shows at once. If the model does not answer a padded prompt as it
    does alone, prompts are answered one by one.

    Args:
        variant: the model.
        prompts: token ids of each prompt.
        tokenizer: decodes the answers.
        sampling: how tokens are chosen.
        ends: stop tokens; they are not part of an answer.
        hidden: control tokens that are not shown, of `find_hidden_tokens`.
        batch_size: answers generated at once.
        advance: called with the number of new answers.
    """
    answers = [""] * len(prompts)
    order = sorted(range(len(prompts)), key=lambda index: len(prompts[index]), reverse=True)
    pad = tokenizer.pad_token_id if tokenizer.pad_token_id is not None else ends[0]
    if batch_size > 1 and len(prompts) > 1 and not _answers_padded(variant, prompts[order[0]], prompts[order[-1]], pad):
        batch_size = 1
    torch.manual_seed(sampling.seed)
    for start in range(0, len(order), batch_size):
        chosen = order[start : start + batch_size]
        ids, mask = _pad_left([prompts[index] for index in chosen], pad, variant.model.device)
        with variant.activate(), torch.no_grad(), _contiguous_last_states(variant.model):
            for row, tokens in _complete_batch(variant.model, ids, mask, sampling, ends, pad):
                answers[chosen[row]] = decode_answer(_until_end(tokens, ends), tokenizer, hidden)
                advance(1)
    return answers


def _pad_left(prompts: Sequence[Sequence[int]], pad: int, device: torch.device) -> tuple[torch.Tensor, torch.Tensor]:
    """Return the token ids and the attention mask of a batch."""
    width = max(map(len, prompts))
    padding = [width - len(prompt) for prompt in prompts]
    ids = [[pad] * left + list(prompt) for prompt, left in zip(prompts, padding, strict=True)]
    mask = [[0] * left + [1] * (width - left) for left in padding]
    return torch.tensor(ids, device=device), torch.tensor(mask, device=device)


def _answers_padded(variant: ModelVariant, longest: Sequence[int], shortest: Sequence[int], pad: int) -> bool:
    """Whether a prompt has the same next tokens next to a longer one, to which it is padded, as alone.

    Some models see padding: state-space models carry it in their state, and others count positions from it.
    """
    padding = len(longest) - len(shortest)
    if False in variant.probed.values():
        return False
    if padding <= max(variant.probed, default=0):
        return True
    settings = _settings(Sampling(max_new_tokens=PROBED_TOKENS), [-1], pad)
    settings.output_logits = True
    outputs = []
    with variant.activate(), torch.no_grad():
        for batch in ([longest, shortest], [shortest]):
            ids, mask = _pad_left(batch, pad, variant.model.device)
            outputs.append(variant.model.generate(input_ids=ids, attention_mask=mask, generation_config=settings))
    is_equal = True
    for padded, alone in zip(outputs[0].logits, outputs[1].logits, strict=True):
        difference, scale = (padded[-1] - alone[-1]).abs().max(), alone[-1].abs().max()
        is_equal = bool(difference <= scale * max(1e-3, 16 * torch.finfo(variant.model.dtype).eps))
        if not is_equal or padded[-1].argmax() != alone[-1].argmax():
            break
    variant.probed[padding] = is_equal
    if not is_equal:
        note(f"{type(variant.model).__name__} answers a padded prompt differently: prompts are answered one by one")
    return is_equal


def _complete_batch(
    model: "CausalLM", ids: torch.Tensor, mask: torch.Tensor, sampling: Sampling, ends: list[int], pad: int
) -> Iterator[tuple[int, list[int]]]:
    """Yield rows of a batch with their new tokens as they finish; finished rows are dropped from the batch.

    After each `STAGE` tokens the other rows continue from the KV cache. If it has more than keys and values, as with
    linear attention, they are generated again after the first stage, without further stages.
    """
    width, rows = ids.shape[1], list(range(len(ids)))
    cache: DynamicCache | None = None
    while rows:
        length = sampling.max_new_tokens - (ids.shape[1] - width)
        if cache is not None or ids.shape[1] == width:
            length = min(STAGE, length)
        output = model.generate(
            input_ids=ids,
            attention_mask=mask,
            generation_config=_settings(replace(sampling, max_new_tokens=length), ends, pad),
            **({} if cache is None else {CACHE: cache}),
        )
        ids, cache = output.sequences, _divisible(output.get(CACHE))
        is_last = ids.shape[1] - width >= sampling.max_new_tokens
        unfinished: list[int] = []
        for index, tokens in enumerate(ids[:, width:].tolist()):
            if is_last or not set(ends).isdisjoint(tokens):
                yield rows[index], tokens
            else:
                unfinished.append(index)
        mask = torch.nn.functional.pad(mask, (0, ids.shape[1] - mask.shape[1]), value=1)
        if len(unfinished) < len(rows):
            chosen = torch.tensor(unfinished, dtype=torch.long, device=ids.device)
            rows, ids, mask = [rows[index] for index in unfinished], ids[chosen], mask[chosen]
            if cache is not None and rows:
                cache.batch_select_indices(chosen)


def _divisible(cache: object) -> DynamicCache | None:
    """Return a cache if rows can be removed from it, else None."""
    if isinstance(cache, DynamicCache) and all(type(layer) in PLAIN_LAYERS for layer in cache.layers):
        return cache
    return None


@contextmanager
def _contiguous_last_states(model: "CausalLM") -> Iterator[None]:
    """Make the last hidden states of a batch contiguous before the LM head.

    transformers passes a slice of all states, for which torch on a CPU copies the head's weights for each row: for 16
    rows of the built-in model in bf16 that takes 1.6 s and 800 MB instead of 7 ms.
    """
    head = model.get_output_embeddings()
    hook = head.register_forward_pre_hook(lambda module, inputs: (inputs[0].contiguous(), *inputs[1:]))
    try:
        yield
    finally:
        hook.remove()


class _AnswerStreamer(TextIteratorStreamer):
    """transformers' streamer, without the tokens in `hidden`."""

    def __init__(self, tokenizer: Tokenizer, hidden: Collection[int]) -> None:
        super().__init__(cast(Any, tokenizer), skip_prompt=True)
        self._hidden = hidden

    def put(self, value: torch.Tensor) -> None:
        shown = [token for token in value.flatten().tolist() if token not in self._hidden]
        if self.next_tokens_are_prompt or shown:
            value = value if self.next_tokens_are_prompt else torch.tensor(shown)
            super().put(value)  # type: ignore[no-untyped-call]


def stream(
    variant: ModelVariant,
    prompt: Sequence[int],
    tokenizer: Tokenizer,
    sampling: Sampling,
    *,
    ends: list[int],
    hidden: Collection[int] = (),
) -> Iterator[str]:
    """Yield the answer to one prompt piece by piece. Closing the iterator stops the generation."""
    texts = _AnswerStreamer(tokenizer, {*ends, *hidden})
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
        except BaseException as error:  # raised again in the reading thread
            failure.append(error)
            texts.end()  # type: ignore[no-untyped-call]

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
    """Return transformers' settings, without those of the model's generation_config.json."""
    samples = sampling.temperature > 0
    return GenerationConfig(
        max_new_tokens=sampling.max_new_tokens,
        do_sample=samples,
        temperature=sampling.temperature if samples else None,
        top_p=sampling.top_p if samples else None,
        top_k=sampling.top_k if samples else None,
        repetition_penalty=sampling.repetition_penalty,
        eos_token_id=ends,
        pad_token_id=pad,
        return_dict_in_generate=True,
    )


def _until_end(tokens: list[int], ends: list[int]) -> list[int]:
    stop = next((index for index, token in enumerate(tokens) if token in ends), len(tokens))
    return tokens[:stop]
