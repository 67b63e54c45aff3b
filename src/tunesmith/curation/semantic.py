"""Semantic duplicates: texts whose embeddings have a cosine similarity of at least a threshold.

The mean of all embeddings is subtracted first, because what all rows have in common, such as a language, says nothing
about one of them. The embeddings are in a temporary file. Each is compared with all earlier ones that stay, block by
block: exact, and fast compared with the model's forward passes, up to a million texts.
"""

import tempfile
from array import array
from collections.abc import Collection, Sequence

import numpy as np
import numpy.typing as npt

from tunesmith.data.near_duplicates import NearDuplicate
from tunesmith.generation.variants import load_base_variant
from tunesmith.hardware import detect
from tunesmith.modeling.tokenizer import model_tokenizer
from tunesmith.sections import ModelSection

Floats = npt.NDArray[np.float32]

MAX_TOKENS = 512
"""Tokens of a text that are embedded; the rest is truncated."""
BATCH_TOKENS = 4096
"""Tokens of a forward pass, if one text is not longer."""
BLOCK = 1024
"""Embeddings that are compared at once with as many others."""


class SemanticIndex:
    """Texts, numbered in the order in which they are added, and a search for semantic duplicates among them."""

    def __init__(self, model: str, min_similarity: float) -> None:
        """Load the model, a name as in `base_model`.

        Raises:
            ModelError: there is no such model.
        """
        section, self.min_similarity = ModelSection(base_model=model, type_of_model="AutoModel"), min_similarity
        self._tokenizer = model_tokenizer(section)
        self._model = load_base_variant(section, detect()).model
        self._width = self._model.config.get_text_config().hidden_size
        self._count, self._empty = 0, array("Q")
        self._sum = np.zeros(self._width)
        self._file = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the object

    def add(self, texts: Sequence[str]) -> None:
        """Add texts; one without words has no embedding, and is never a duplicate."""
        ids = self._tokenizer(list(texts), truncation=True, max_length=MAX_TOKENS)["input_ids"]
        numbers = [number for number, text in enumerate(texts) if text.strip() and ids[number]]
        order = sorted(numbers, key=lambda number: len(ids[number]))
        embeddings: dict[int, Floats] = {}
        while order:  # texts of about the same length in a batch, the longest first
            longest = len(ids[order[-1]])
            batch = [order.pop() for _ in range(min(len(order), max(1, BATCH_TOKENS // longest)))]
            embeddings |= zip(batch, self._embed([ids[number] for number in batch], longest), strict=True)
        vectors = np.zeros((len(texts), self._width), np.float32)
        vectors[numbers] = [embeddings[number] for number in numbers] or 0
        self._file.write(vectors.tobytes())
        self._sum += vectors.sum(0)
        self._empty.extend(self._count + number for number in range(len(texts)) if number not in embeddings)
        self._count += len(texts)

    def _embed(self, ids: Sequence[Sequence[int]], longest: int) -> Floats:
        """Return the mean of the last hidden states of each text, normalized to length 1."""
        import torch

        input_ids = torch.tensor([[*row, *[0] * (longest - len(row))] for row in ids], device=self._model.device)
        lengths = torch.tensor([[len(row)] for row in ids], device=self._model.device)
        mask = torch.arange(longest, device=self._model.device) < lengths
        with torch.inference_mode():
            states = self._model(input_ids=input_ids, attention_mask=mask.long()).last_hidden_state.float()
        means = (states * mask[..., None]).sum(1) / lengths
        return torch.nn.functional.normalize(means, dim=1).cpu().numpy()

    def near_duplicates(self, *, without: Collection[int] = ()) -> dict[int, NearDuplicate]:
        """Return for each semantic duplicate the first earlier text that is like it and is no duplicate itself.

        Args:
            without: numbers of texts that are skipped.
        """
        self._file.flush()
        numbers = np.setdiff1d(np.arange(self._count), [*without, *self._empty])
        duplicates: dict[int, NearDuplicate] = {}
        kept_numbers = np.zeros(0, np.int64)
        for start in range(0, len(numbers), BLOCK):
            block = numbers[start : start + BLOCK]
            vectors = self._centered(block)
            for kept_start in range(0, len(kept_numbers), BLOCK):
                earlier = kept_numbers[kept_start : kept_start + BLOCK]
                similarity = vectors @ self._centered(earlier).T
                for row in np.flatnonzero((similarity >= self.min_similarity).any(axis=1)):
                    first = int(np.argmax(similarity[row] >= self.min_similarity))
                    match = NearDuplicate(int(earlier[first]), float(similarity[row, first]))
                    duplicates.setdefault(int(block[row]), match)
            similar = np.tril(vectors @ vectors.T >= self.min_similarity, -1)
            for later, first in np.argwhere(similar):  # in the order of the texts
                if block[later] not in duplicates and block[first] not in duplicates:
                    match = NearDuplicate(int(block[first]), float(vectors[later] @ vectors[first]))
                    duplicates[int(block[later])] = match
            representatives = [number for number in block if number not in duplicates]
            kept_numbers = np.append(kept_numbers, representatives).astype(np.int64)
        return duplicates

    def _centered(self, numbers: npt.NDArray[np.int64]) -> Floats:
        """Return embeddings minus the mean of all, again of length 1."""
        vectors = np.memmap(self._file, np.float32, "r", shape=(self._count, self._width))
        mean = (self._sum / (self._count - len(self._empty))).astype(np.float32)
        centered = vectors[numbers] - mean
        normalized: Floats = centered / np.maximum(np.linalg.norm(centered, axis=1, keepdims=True), 1e-3)
        return normalized
