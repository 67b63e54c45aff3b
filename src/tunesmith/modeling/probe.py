"""Shows on the loaded model that its documents are independent: packed equals alone, and no token sees a later one.

What a library does with masks, positions and states differs between models and versions. So no list of names decides
how documents are given to a model: each layout is tried with a few tokens, and the first that is exact is used.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import TYPE_CHECKING, NamedTuple

import torch

from tunesmith.errors import ModelError
from tunesmith.modeling.layout import Layout, lay_out, takes

if TYPE_CHECKING:
    from tunesmith.modeling.causal_lm import CausalLM

Documents = list[list[int]]

LENGTHS = [19, 13]
"""Tokens of the documents of a probe."""
EDGE = 3
"""Tokens that are compared at the beginning and at the end of a document, where a wrong mask or state shows."""
TOLERANCE = {torch.float32: 1e-3, torch.float16: 3e-2, torch.bfloat16: 0.12}
"""Largest relative difference of logits that rounding explains, by the dtype of the products. States that leak differ
by more than 0.3. Inputs of the same shape are rounded the same, so a quarter of it is the limit for them."""


class Verdict(NamedTuple):
    """The layout that is used.

    Attributes:
        layout: attention code and inputs.
        faults: why each layout before it is not exact.
    """

    layout: Layout
    faults: dict[Layout, str]

    @property
    def reason(self) -> str:
        """The result of the probe, for the table of decisions."""
        if self.layout.is_packed:
            slower = [f"; not {layout}: {fault}" for layout, fault in self.faults.items()]
            return f"packed equals alone on this model{slower[-1] if slower else ''}"
        packed = [fault for layout, fault in self.faults.items() if layout.inputs == "packed"]
        return f"padded equals alone on this model; packed, {packed[-1]}"


def choose_layout(
    model: "CausalLM",
    candidates: Sequence[Layout],
    *,
    longest: int = 0,
    row_tokens: int = 0,
    dtype: torch.dtype = torch.float32,
) -> Verdict:
    """Return the first of the candidates that is exact on this model, and set its attention code.

    Weights, modes and the random state stay as they are. The cost is that of two short documents; if the model attends
    to a window that rows exceed, that of one step.

    Args:
        model: the loaded model, on the device where it computes.
        candidates: the layouts to try, the fastest first.
        longest: tokens of the longest document.
        row_tokens: most tokens of a packed row.
        dtype: dtype of the products.

    Raises:
        ModelError: none is exact.
    """
    faults: dict[Layout, str] = {}
    with evaluating(model, dtype):
        samples = _samples(model, longest, row_tokens)
        for layout in candidates:
            fault = _find_fault(model, layout, samples, TOLERANCE[dtype])
            if not fault:
                return Verdict(layout, faults)
            faults[layout] = fault
    layout, fault = list(faults.items())[-1]
    raise ModelError(f"{_class_name(model)} computes no document by itself: with {layout}, {fault}")


def loaded_attention(model: "CausalLM") -> str:
    """Return the attention code that a model has now."""
    return str(model.config._attn_implementation)


def set_attention(model: "CausalLM", name: str) -> bool:
    """Set the attention code of a loaded model, and return whether it has it now."""
    if loaded_attention(model) != name:
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        with suppress(ValueError, ImportError):  # the model does not have it
            base.set_attn_implementation(name)
    return loaded_attention(model) == name


def _class_name(model: "CausalLM") -> str:
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return type(base).__name__


@contextmanager
def evaluating(model: "CausalLM", dtype: torch.dtype) -> Iterator[None]:
    """Evaluate without gradients; restore modes and random state."""
    modes = [(module, module.training) for module in model.modules()]
    device = model.device.type
    devices = [model.device] if device == "cuda" else []
    model.eval()
    try:
        with (
            torch.random.fork_rng(devices),
            torch.no_grad(),
            torch.autocast(device, dtype, enabled=dtype != torch.float32),
        ):
            yield
    finally:
        for module, mode in modes:
            module.training = mode
        if device == "cuda":
            torch.cuda.empty_cache()


class _Sample(NamedTuple):
    """Documents, and the logits at the edges of each alone, by the model's plain code."""

    documents: Documents
    alone: list[torch.Tensor]


def _samples(model: "CausalLM", longest: int, row_tokens: int) -> list[_Sample]:
    """Return two short documents, and documents beyond the window of tokens that the model attends to."""
    loaded = loaded_attention(model)
    set_attention(model, "eager")  # the definition of the model; other code may leave out a part
    documents = _documents(model, LENGTHS)
    samples = [_Sample(documents, _alone(model, documents))]
    set_attention(model, loaded)
    if window := max((size for size in _windows(model) if LENGTHS[0] < size < row_tokens), default=0):
        beyond = window + LENGTHS[1]
        length = min(max(longest, LENGTHS[0]), beyond)
        documents = _documents(model, [length] * -(-beyond // length) + LENGTHS[1:])
        samples.append(_Sample(documents, _alone(model, documents)))
    return samples


def _windows(model: "CausalLM") -> list[int]:
    """Return the sizes in the model's config beyond which a token may not attend to another."""
    settings = model.config.get_text_config().to_dict()
    return [
        value
        for name, value in settings.items()
        if isinstance(value, int) and any(word in name for word in ("window", "chunk"))
    ]


def _documents(model: "CausalLM", lengths: list[int], seed: int = 0) -> Documents:
    """Return documents of tokens from the middle of the vocabulary, the same ones each time."""
    size = model.get_input_embeddings().num_embeddings
    return [
        [size // 4 + (place * place * 7 + place * 13 + number * 101 + seed) % (size // 2) for place in range(length)]
        for number, length in enumerate(lengths)
    ]


def _alone(model: "CausalLM", documents: Documents) -> list[torch.Tensor]:
    logits = []
    for document in documents:
        inputs = {"input_ids": torch.tensor([document]), "use_cache": False}
        logits.append(_edge_logits(model, inputs, [(0, place) for place in _edges(len(document))]))
    return logits


def _edges(length: int) -> list[int]:
    """Return places at the beginning and the end of a document, without its last token."""
    return [*range(EDGE), *range(length - 1 - EDGE, length - 1)]


def _find_fault(model: "CausalLM", layout: Layout, samples: list[_Sample], tolerance: float) -> str | None:
    """Return why a layout is not exact, or None."""
    try:
        if not set_attention(model, layout.attention):
            return "the model does not support this attention"
        for documents, alone in samples:
            logits = _laid_out(model, layout, documents)
            if (difference := _difference(logits, alone)) > tolerance:
                return f"logits differ from those of a document alone by {difference:.0%}"
            *others, last = documents
            others = _documents(model, [len(document) for document in others], seed=37)
            changed = _laid_out(model, layout, [*others, [*last[:-1], last[0]]])
            if (difference := _difference(changed[-1:], logits[-1:])) > tolerance / 4:
                return f"other documents or later tokens change logits by {difference:.0%}"
    except torch.OutOfMemoryError:
        raise
    except Exception as error:  # models raise whatever they like for inputs that they do not know
        return str(error).strip().split("\n")[0] or type(error).__name__
    return None


def _laid_out(model: "CausalLM", layout: Layout, documents: Documents) -> list[torch.Tensor]:
    """Return the logits at the edges of each document."""
    places, start = [], 0
    for row, document in enumerate(documents):
        places += [(0, start + edge) if layout.is_packed else (row, edge) for edge in _edges(len(document))]
        start += len(document)
    logits = _edge_logits(model, lay_out(documents, layout), places)
    return list(logits.split(2 * EDGE))


def _edge_logits(model: "CausalLM", inputs: dict[str, object], places: list[tuple[int, int]]) -> torch.Tensor:
    """Return the logits at (row, place), of shape (places, vocabulary)."""
    device = model.device
    tensors = {key: value.to(device) if isinstance(value, torch.Tensor) else value for key, value in inputs.items()}
    kept = sorted({place for _, place in places})
    if takes(model, "logits_to_keep"):
        tensors["logits_to_keep"] = torch.tensor(kept, device=device)
        places = [(row, kept.index(place)) for row, place in places]
    logits: torch.Tensor = model(**tensors).logits
    rows, columns = zip(*places, strict=True)
    return logits[list(rows), list(columns)].float()


def _difference(logits: list[torch.Tensor], expected: list[torch.Tensor]) -> float:
    """Return the largest relative difference at an edge: the median of its tokens, because experts may change."""
    one, other = torch.stack(logits), torch.stack(expected)
    size = (other - other.mean(-1, keepdim=True)).norm(dim=-1)
    relative = ((one - other).norm(dim=-1) / size).nan_to_num(torch.inf)
    return float(relative.unflatten(-1, (2, EDGE)).median(-1).values.max())
