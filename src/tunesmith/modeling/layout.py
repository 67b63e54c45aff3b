"""How the documents of a batch become the inputs of a model: end to end in one row, or one document a row.

The collator and the probe (`probe.py`) both use `lay_out`, so what is probed is what is trained.
"""

import inspect
from collections.abc import Sequence
from itertools import accumulate
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import torch
from torch.nn.utils.rnn import pad_sequence

from tunesmith.modeling.attention import DOCUMENTS

if TYPE_CHECKING:
    from tunesmith.modeling.causal_lm import CausalLM


class Layout(NamedTuple):
    """The attention code of a model, and how documents are given to it.

    Attributes:
        attention: transformers' name of the attention code.
        inputs: `packed`: documents in one row, positions restart with each; `seq_idx`: also the number of each token's
            document and the cumulative lengths; `rows`: one document a row, padded on the right.
    """

    attention: str
    inputs: Literal["packed", "seq_idx", "rows"] = "packed"

    @property
    def is_packed(self) -> bool:
        """Whether documents share a row."""
        return self.inputs != "rows"

    def __str__(self) -> str:
        if self.attention == DOCUMENTS:
            return "block-diagonal per document"
        documents = {
            "packed": "packed by position_ids",
            "seq_idx": "packed by seq_idx",
            "rows": "one document a row",
        }
        return f"{self.attention}, {documents[self.inputs]}"


PACKED = Layout("sdpa")


def candidate_layouts(attention: str, loaded: str, *, as_set: bool) -> list[Layout]:
    """Return the layouts to try, the fastest first.

    Args:
        attention: the attention code for this machine.
        loaded: the attention code that the model was loaded with.
        as_set: the config sets `attention`, so nothing replaces it.
    """
    documents = [Layout(DOCUMENTS)] if attention == DOCUMENTS else []
    names = [loaded] if as_set and not documents else list(dict.fromkeys((loaded, "eager")))
    packed = [Layout(name) for name in names]
    rows = [Layout(name, "rows") for name in names]
    return [*documents, *packed, Layout(loaded, "seq_idx"), *rows]


def lay_out(documents: Sequence[Sequence[int]], layout: Layout) -> dict[str, Any]:
    """Return the inputs of `forward` for documents of token ids."""
    lengths = [len(document) for document in documents]
    inputs: dict[str, Any] = {"input_ids": arrange(documents, layout, 0), "use_cache": False}
    if not layout.is_packed:
        return inputs | {"attention_mask": arrange([[1] * length for length in lengths], layout, 0)}
    inputs["position_ids"] = arrange([range(length) for length in lengths], layout, 0)
    cu_seqlens = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
    if layout.attention == DOCUMENTS:
        return inputs | {"cu_seq_lens_q": cu_seqlens}
    if layout.inputs == "seq_idx":
        numbers = arrange([[index] * length for index, length in enumerate(lengths)], layout, 0)
        inputs |= {"seq_idx": numbers.to(torch.int32), "cu_seq_lens_q": cu_seqlens, "cu_seq_lens_k": cu_seqlens}
        inputs |= {"max_length_q": max(lengths), "max_length_k": max(lengths)}
    return inputs


def arrange(values: Sequence[Sequence[int]], layout: Layout, fill: int) -> torch.Tensor:
    """Return values of each document in the shape of the inputs: (1, tokens), or (documents, longest) with padding."""
    tensors = [torch.tensor(part, dtype=torch.long) for part in values]
    if layout.is_packed:
        return torch.cat(tensors)[None]
    return pad_sequence(tensors, batch_first=True, padding_value=fill)


def takes(model: "CausalLM", name: str) -> bool:
    """Return whether the model's `forward` has a parameter of this name."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return name in inspect.signature(base.forward).parameters
