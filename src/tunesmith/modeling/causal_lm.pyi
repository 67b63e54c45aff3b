# The type of a causal LM: a model of transformers that generates text, or peft's `PeftModel`, which passes attributes
# on to the model in it. For type checkers only: modules import it under `TYPE_CHECKING`.

from contextlib import AbstractContextManager
from typing import Any

from torch import nn
from transformers import GenerationMixin, PreTrainedConfig, PreTrainedModel

class CausalLM(PreTrainedModel, GenerationMixin):
    config: PreTrainedConfig

    # Methods whose types transformers leaves open.
    def get_input_embeddings(self) -> nn.Embedding: ...
    def get_output_embeddings(self) -> nn.Linear: ...
    def to(self, *args: Any, **kwargs: Any) -> CausalLM: ...  # type: ignore[override]  # a decorator hides its type

    # peft's, which need an adapter.
    def disable_adapter(self) -> AbstractContextManager[None]: ...
    def get_base_model(self) -> CausalLM: ...
