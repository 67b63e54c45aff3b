"""Prepared samples to batches: documents laid end to end in one row, without padding.

Two public parameters of transformers' causal models make this cheap. `logits_to_keep` computes logits only at
positions that predict a trained token, and `shift_labels` gives the loss their targets. Positions restart with each
document, so that none sees another, and the last token of a document predicts nothing.
"""

import inspect
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Any

import torch

from tunesmith.config.sections import DataSection
from tunesmith.data.pack import pack, pack_in_order
from tunesmith.data.splits import Splits
from tunesmith.data.types import MASKED, Example


class Sequences(torch.utils.data.Dataset[list[Example]]):
    """A prepared dataset as sequences, each the samples that are packed together; one sample each without packing."""

    def __init__(self, prepared: Any, *, packed: bool, sequence_len: int, in_order: bool = False) -> None:
        """Plan the sequences of `prepared`, a `datasets.Dataset` with columns input_ids and labels.

        Args:
            prepared: the samples.
            packed: put many samples into one sequence.
            sequence_len: tokens of a packed sequence.
            in_order: pack the samples in their order, rather than with little waste.
        """
        columns = ("input_ids", "labels", "border")
        self.samples = prepared.select_columns([name for name in columns if name in prepared.column_names])
        lengths = _lengths(prepared)
        packing = pack_in_order if in_order else pack
        self.plan = packing(lengths, sequence_len) if packed else [[index] for index in range(len(lengths))]
        self.lengths = [sum(lengths[index] for index in samples) for samples in self.plan]
        self.tokens = sum(lengths)

    def __len__(self) -> int:
        return len(self.plan)

    def __getitem__(self, index: int) -> list[Example]:
        rows = self.samples[self.plan[index]]
        samples = (dict(zip(rows, values, strict=True)) for values in zip(*rows.values(), strict=True))
        return [document for sample in samples for document in Example(**sample).documents]


def training_sequences(prepared: Any, data: DataSection) -> Sequences:
    """Return the training set as sequences."""
    in_order = data.sample_packing_sequentially or data.curriculum_sampling
    return Sequences(prepared, packed=data.sample_packing, sequence_len=data.sequence_len, in_order=in_order)


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


def _lengths(prepared: Any) -> list[int]:
    """Read the number of tokens of each sample without turning tokens into Python objects."""
    import pyarrow.compute

    column = prepared.with_format("arrow")
    lengths: list[int] = []
    for start in range(0, len(prepared), 10_000):
        batch = column[start : start + 10_000]["input_ids"]
        lengths += pyarrow.compute.list_value_length(batch).to_pylist()
    return lengths


def takes_logits_to_keep(model: Any) -> bool:
    """Return whether the model's `forward` can leave out the logits of positions that train nothing."""
    base = model.get_base_model() if hasattr(model, "get_base_model") else model
    return "logits_to_keep" in inspect.signature(base.forward).parameters


@dataclass(frozen=True)
class FlatCollator:
    """Lays sequences end to end.

    Attributes:
        document_borders: pass `cu_seq_lens_q`, for document attention.
        keep_logits: the model takes `logits_to_keep`.
    """

    document_borders: bool = False
    keep_logits: bool = True

    def __call__(self, sequences: Sequence[list[Example]]) -> dict[str, Any]:
        """Return the inputs of the model's `forward`; ids, positions and labels of shape (1, tokens)."""
        documents = [document for sequence in sequences for document in sequence]
        lengths = [len(document.input_ids) for document in documents]
        input_ids = torch.tensor([[token for document in documents for token in document.input_ids]])
        positions = torch.tensor([[place for length in lengths for place in range(length)]])
        targets = torch.tensor([[label for document in documents for label in [*document.labels[1:], MASKED]]])
        batch: dict[str, Any] = {"input_ids": input_ids, "position_ids": positions, "use_cache": False}
        if self.document_borders:
            batch["cu_seq_lens_q"] = torch.tensor([0, *accumulate(lengths)], dtype=torch.int32)
        if self.keep_logits:
            batch["logits_to_keep"] = (targets[0] != MASKED).nonzero()[:, 0]
            targets = targets[:, batch["logits_to_keep"]]
        return batch | {"labels": targets, "shift_labels": targets}
