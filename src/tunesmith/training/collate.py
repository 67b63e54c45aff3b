"""Prepared samples to batches: documents laid end to end in one row, without padding.

Two public parameters of transformers' causal models make this cheap. `logits_to_keep` computes logits only at
positions that predict a trained token, and `shift_labels` gives the loss their targets. Positions restart with each
document, so that none sees another, and the last token of a document predicts nothing.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING, Any

import torch
from torch.nn.functional import pad

from tunesmith.data.pack import pack, pack_in_order
from tunesmith.data.splits import Splits
from tunesmith.data.types import MASKED, SPLIT_INDEX_COLUMN, Example
from tunesmith.sections import DataSection

if TYPE_CHECKING:
    from datasets import Dataset

    from tunesmith.modeling.causal_lm import CausalLM


Batch = dict[str, Any]
"""Inputs of a model's `forward`, by name: tensors, flags, and what the loss needs."""


class Sequences(torch.utils.data.Dataset[list[Example]]):
    """A prepared dataset as sequences, each the samples that are packed together; one sample each without packing."""

    def __init__(
        self, prepared: "Dataset", *, packed: bool, sequence_len: int, in_order: bool = False, multiple: int = 1
    ) -> None:
        """Plan the sequences of `prepared`, a `datasets.Dataset` with columns input_ids and labels.

        Args:
            prepared: the samples.
            packed: put many samples into one sequence.
            sequence_len: tokens of a packed sequence.
            in_order: pack the samples in their order, rather than with little waste.
            multiple: add empty sequences up to a multiple of this, so that no process repeats a row at the end.
        """
        columns = ("input_ids", "labels", SPLIT_INDEX_COLUMN)
        self.samples = prepared.select_columns([name for name in columns if name in prepared.column_names])
        lengths = _lengths(prepared)
        packing = pack_in_order if in_order else pack
        self.plan = packing(lengths, sequence_len) if packed else [[index] for index in range(len(lengths))]
        self.num_rows = len(self.plan)
        self.plan += [[]] * (-self.num_rows % multiple)
        self.lengths = [sum(lengths[index] for index in samples) for samples in self.plan]
        self.tokens = sum(lengths)

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> list[Example]:
        if not self.plan[index]:
            return []
        rows = self.samples[self.plan[index]]
        split_indexes = rows.get(SPLIT_INDEX_COLUMN) or [None] * len(rows["input_ids"])
        columns = zip(rows["input_ids"], rows["labels"], split_indexes, strict=True)
        samples = [Example(ids, labels, split_index=split_index) for ids, labels, split_index in columns]
        return [document for sample in samples for document in sample.documents]


def training_sequences(prepared: "Dataset", data: DataSection, *, multiple: int = 1) -> Sequences:
    """Return the training set as sequences, filled up with empty ones to a multiple."""
    in_order = data.sample_packing_sequentially or data.curriculum_sampling
    return Sequences(
        prepared, packed=data.sample_packing, sequence_len=data.sequence_len, in_order=in_order, multiple=multiple
    )


def held_out_sequences(splits: Splits, data: DataSection) -> Sequences | dict[str, Sequences] | None:
    """Return what is held out as sequences, by name if there are several sets; None if nothing is.

    They are packed by `eval_sample_packing`, or else as the training set is.
    """
    packed = data.sample_packing if data.eval_sample_packing is None else data.eval_sample_packing
    length = data.for_tests().sequence_len if data.test_datasets else data.sequence_len
    if splits.tests:
        return {name: Sequences(part, packed=packed, sequence_len=length) for name, part in splits.tests.items()}
    if splits.held_out is None:
        return None
    return Sequences(splits.held_out, packed=packed, sequence_len=length)


def _lengths(prepared: "Dataset") -> list[int]:
    """Read the number of tokens of each sample without turning tokens into Python objects."""
    import pyarrow.compute

    column = prepared.with_format("arrow")
    lengths: list[int] = []
    for start in range(0, len(prepared), 10_000):
        batch = column[start : start + 10_000]["input_ids"]
        lengths += pyarrow.compute.list_value_length(batch).to_pylist()
    return lengths


def takes_logits_to_keep(model: "CausalLM") -> bool:
    """Return whether the model's `forward` can leave out the logits of positions that train nothing."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(base.forward).parameters


NOTHING = Example([0, 0], [MASKED, MASKED])
"""A document that trains nothing, for a batch of empty sequences: the processes of a run take as many batches."""


@dataclass(frozen=True)
class FlatCollator:
    """Lays sequences end to end.

    Attributes:
        document_borders: pass `cu_seq_lens_q`, for document attention.
        keep_logits: the model takes `logits_to_keep`.
    """

    document_borders: bool = False
    keep_logits: bool = True

    def __call__(self, sequences: Sequence[list[Example]]) -> Batch:
        """Return the inputs of the model's `forward`; ids, positions and labels of shape (1, tokens)."""
        documents = [document for sequence in sequences for document in sequence] or [NOTHING]
        lengths = [len(document.input_ids) for document in documents]
        input_ids = torch.tensor([[token for document in documents for token in document.input_ids]])
        positions = torch.tensor([[position for length in lengths for position in range(length)]])
        targets = torch.tensor([[label for document in documents for label in [*document.labels[1:], MASKED]]])
        batch: Batch = {"input_ids": input_ids, "position_ids": positions, "use_cache": False}
        if self.document_borders:
            batch["cu_seq_lens_q"] = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
        if self.keep_logits:
            batch["logits_to_keep"] = (targets[0] != MASKED).nonzero()[:, 0]
            targets = targets[:, batch["logits_to_keep"]]
        return batch | {"labels": targets, "shift_labels": targets}


PIECE = 1536
"""Tokens that go through the model at once on a CPU. More are no faster there, and take memory."""
ROUND = 32
"""Tokens of a piece, and trained positions of it, are filled up to a multiple of this."""


def pieces(batch: Batch, *, rounded: bool = True) -> list[Batch]:
    """Return a flat batch in pieces of whole documents, of at most `PIECE` tokens unless one alone is longer.

    The gradients of the pieces add up to those of the batch. If `rounded`, each is filled up to a round number of
    tokens by a document that trains nothing: oneDNN keeps code, half a megabyte, for each shape of a product that it
    has seen. A batch without `cu_seq_lens_q` stays as it is.
    """
    if "cu_seq_lens_q" not in batch:
        return [batch]
    borders = batch["cu_seq_lens_q"].tolist()
    cuts = [0]
    for start, end in pairwise(borders):
        if end - cuts[-1] > PIECE and start > cuts[-1]:
            cuts.append(start)
    parts = [_between(batch, start, end) for start, end in pairwise([*cuts, borders[-1]])]
    return [_rounded(part) for part in parts] if rounded else parts


def _between(batch: Batch, start: int, end: int) -> Batch:
    """Return the tokens from `start` to `end`, at which documents begin."""
    borders = batch["cu_seq_lens_q"]
    part = batch | {key: batch[key][:, start:end] for key in ("input_ids", "position_ids")}
    part["cu_seq_lens_q"] = borders[(borders >= start) & (borders <= end)] - start
    selection = slice(start, end)
    if "logits_to_keep" in batch:
        selection = (batch["logits_to_keep"] >= start) & (batch["logits_to_keep"] < end)
        part["logits_to_keep"] = batch["logits_to_keep"][selection] - start
    return part | {key: batch[key][:, selection] for key in ("labels", "shift_labels")}


def _rounded(piece: Batch) -> Batch:
    """Return a piece with a document at its end that rounds it up; its positions begin at 0, its labels are masked."""
    tokens = piece["input_ids"].shape[1]
    more = -tokens % ROUND
    filled = piece | {"input_ids": pad(piece["input_ids"], (0, more))}
    filled["position_ids"] = torch.cat((piece["position_ids"], torch.arange(more)[None]), 1)
    if more:
        filled["cu_seq_lens_q"] = pad(piece["cu_seq_lens_q"], (0, 1), value=tokens + more)
    if "logits_to_keep" in piece:
        more = -len(piece["logits_to_keep"]) % ROUND
        filled["logits_to_keep"] = pad(piece["logits_to_keep"], (0, more))
    return filled | {key: pad(piece[key], (0, more), value=MASKED) for key in ("labels", "shift_labels")}
