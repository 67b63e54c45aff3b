"""NEFTune (2310.05914): noise on the embeddings of each document, by the length of that document."""

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from tunesmith.modeling.causal_lm import CausalLM


class EmbeddingNoise:
    """Adds uniform noise of at most alpha / sqrt(tokens of the document x width) to embeddings in training.

    transformers' hook takes the length of the whole batch, which here holds many documents in one row.
    """

    def __init__(self, model: "CausalLM", alpha: float) -> None:
        """Add the noise to a model."""
        self.alpha = alpha
        self.lengths: torch.Tensor | None = None
        base: Any = model.get_base_model() if hasattr(model, "get_base_model") else model
        base.register_forward_pre_hook(self._read_lengths, with_kwargs=True)
        base.get_input_embeddings().register_forward_hook(self._add)

    def _read_lengths(self, module: torch.nn.Module, args: tuple[Any, ...], kwargs: dict[str, Any]) -> None:
        """Keep the length of each token's document: positions begin at 0 in each."""
        positions = kwargs["position_ids"][0] if module.training else None
        self.lengths = None if positions is None else document_lengths(positions)

    def _add(self, module: torch.nn.Module, args: tuple[Any, ...], output: torch.Tensor) -> torch.Tensor:
        if self.lengths is None or not module.training:
            return output
        bound = self.alpha / (self.lengths * output.shape[-1]).sqrt()
        return output + (2 * torch.rand_like(output) - 1) * bound[None, :, None].to(output.dtype)


def document_lengths(positions: torch.Tensor) -> torch.Tensor:
    """Return for each position the number of tokens of its document; shape (tokens,)."""
    documents = (positions == 0).cumsum(0) - 1
    return documents.bincount()[documents]
