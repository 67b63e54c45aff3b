"""Texts that mean nearly the same: a model turns each into a vector, and vectors that point the same way are twins.

The mean of all vectors is taken away first: what all rows have in common, a language or a form, says nothing of one.
The vectors lie in a temporary file. Each is compared with all earlier ones that stay, block by block: exact, and little
beside what the model takes for a text, up to a million of them.
"""

import tempfile
from array import array
from collections.abc import Collection, Sequence
from typing import Any

import numpy as np

from tunesmith.data.twins import Twin
from tunesmith.generation.voices import base_voice
from tunesmith.hardware import detect
from tunesmith.modeling.tokenizer import model_tokenizer
from tunesmith.sections import ModelSection

LONGEST = 512
"""Tokens of a text that are read."""
TOGETHER = 4096
"""Tokens that go through the model at once, if one text is not longer."""
BLOCK = 1024
"""Vectors that are compared at once with as many others."""


class Meanings:
    """Texts, numbered in the order in which they are added, that can be asked which of them mean nearly the same."""

    def __init__(self, model: str, alike: float) -> None:
        """Load the model, a name as in `base_model`.

        Raises:
            ModelError: there is no such model.
        """
        section, self.alike = ModelSection(base_model=model, type_of_model="AutoModel"), alike
        self._tokenizer = model_tokenizer(section)
        self._model = base_voice(section, detect()).model
        self._width = self._model.config.get_text_config().hidden_size
        self._count, self._empty = 0, array("Q")
        self._sum = np.zeros(self._width)
        self._vectors = tempfile.TemporaryFile()  # noqa: SIM115  it lives as long as the object

    def add(self, texts: Sequence[str]) -> None:
        """Add texts; one without words has no direction, and so is like no other."""
        ids = self._tokenizer(list(texts), truncation=True, max_length=LONGEST)["input_ids"]
        some = [number for number, text in enumerate(texts) if text.strip() and ids[number]]
        order = sorted(some, key=lambda number: len(ids[number]))
        found: dict[int, Any] = {}
        while order:  # texts of about the same length together, the longest first
            longest = len(ids[order[-1]])
            batch = [order.pop() for _ in range(min(len(order), max(1, TOGETHER // longest)))]
            found |= zip(batch, self._embedded([ids[number] for number in batch], longest), strict=True)
        vectors = np.zeros((len(texts), self._width), np.float32)
        vectors[some] = [found[number] for number in some] or 0
        self._vectors.write(vectors.tobytes())
        self._sum += vectors.sum(0)
        self._empty.extend(self._count + number for number in range(len(texts)) if number not in found)
        self._count += len(texts)

    def _embedded(self, ids: Sequence[Sequence[int]], longest: int) -> Any:
        """Return the mean of the last hidden states of each text, as a vector of length 1."""
        import torch

        padded = torch.tensor([[*row, *[0] * (longest - len(row))] for row in ids], device=self._model.device)
        lengths = torch.tensor([[len(row)] for row in ids], device=self._model.device)
        mask = torch.arange(longest, device=self._model.device) < lengths
        with torch.inference_mode():
            states = self._model(input_ids=padded, attention_mask=mask.long()).last_hidden_state.float()
        means = (states * mask[..., None]).sum(1) / lengths
        return torch.nn.functional.normalize(means, dim=1).cpu().numpy()

    def twins(self, *, without: Collection[int] = ()) -> dict[int, Twin]:
        """Return each text that is alike an earlier one which is not such a text itself, with the first of those.

        Args:
            without: numbers of texts that are not looked at.
        """
        self._vectors.flush()
        looked_at = np.setdiff1d(np.arange(self._count), [*without, *self._empty])
        found: dict[int, Twin] = {}
        stay = np.zeros(0, np.int64)
        for begin in range(0, len(looked_at), BLOCK):
            block = looked_at[begin : begin + BLOCK]
            mine = self._centred(block)
            for start in range(0, len(stay), BLOCK):
                earlier = stay[start : start + BLOCK]
                likeness = mine @ self._centred(earlier).T
                for place in np.flatnonzero((likeness >= self.alike).any(axis=1)):
                    first = int(np.argmax(likeness[place] >= self.alike))
                    found.setdefault(int(block[place]), Twin(int(earlier[first]), float(likeness[place, first])))
            for later, one in np.argwhere(np.tril(mine @ mine.T >= self.alike, -1)):  # in the order of the texts
                if block[later] not in found and block[one] not in found:
                    found[int(block[later])] = Twin(int(block[one]), float(mine[later] @ mine[one]))
            stay = np.append(stay, [number for number in block if number not in found]).astype(np.int64)
        return found

    def _centred(self, numbers: Any) -> Any:
        """Return vectors without what all have in common, again of length 1."""
        vectors = np.memmap(self._vectors, np.float32, "r", shape=(self._count, self._width))
        found = vectors[numbers] - (self._sum / (self._count - len(self._empty))).astype(np.float32)
        return found / np.maximum(np.linalg.norm(found, axis=1, keepdims=True), 1e-3)
