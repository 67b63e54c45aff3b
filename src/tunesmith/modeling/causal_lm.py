"""The type of a causal LM. For type checkers only: a module that names it imports it under `TYPE_CHECKING`."""

from contextlib import AbstractContextManager
from typing import Any

from torch import nn
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel


class CausalLM(PreTrainedModel, GenerationMixin):
    """A model of transformers that generates text, or peft's `PeftModel`, which passes attributes to the model in it.

    Its methods here have types that transformers leaves open; the last two are peft's and need an adapter.
    """

    config: PreTrainedConfig

    def get_input_embeddings(self) -> nn.Embedding:
        """Return the embeddings of the tokens."""
        raise NotImplementedError

    def get_output_embeddings(self) -> nn.Linear:
        """Return the LM head."""
        raise NotImplementedError

    def to(self, *args: Any, **kwargs: Any) -> "CausalLM":  # type: ignore[override]  # a decorator hides its type
        """Move or cast the model, as `torch.nn.Module.to`."""
        raise NotImplementedError

    def disable_adapter(self) -> AbstractContextManager[None]:
        """Return a context in which the adapter is off."""
        raise NotImplementedError

    def get_base_model(self) -> "CausalLM":
        """Return the model without its adapter."""
        raise NotImplementedError
