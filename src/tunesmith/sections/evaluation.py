"""How the trained model is evaluated."""

import re
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from tunesmith.errors import did_you_mean
from tunesmith.sections.endpoint import ServerSection
from tunesmith.sections.fields import EVALUATED, CodePath, FilePath, IgnoredIf, OnlyFor, Requires
from tunesmith.sections.judge import Judge
from tunesmith.sections.section import Count, Fraction, NonNegative, Section

SAMPLED = OnlyFor(generate_samples=True)
DRAWN = IgnoredIf(generation_do_sample=(False,), reason="`generation_do_sample: false` is greedy decoding")
NO_EVALUATION = IgnoredIf(eval_strategy="no")
NO_PAIRS = IgnoredIf(rl=True)

METRICS = ("exact", "json", "similarity", "chrf")
"""Metrics by name; `evals/metrics.py` measures them."""


class Evaluation(Section):
    """The `evaluation:` block."""

    assertions: Annotated[str | None, FilePath(), CodePath()] = None
    """Python file whose `test_*` functions check an answer; `file.py:function` for one of them."""
    assertion_seconds: Annotated[float, Field(gt=0)] = 5.0
    """Time limit for one call of an assertion, in seconds, here and in `filters`."""
    metrics: Annotated[list[str], CodePath()] = []
    """Metrics in addition to `exact`: json, `regex: PATTERN`, similarity, chrf, `file.py:function`."""
    during_training: Annotated[
        Count | None, Requires(assertions=True, reason="they judge the answers"), EVALUATED, NO_EVALUATION, NO_PAIRS
    ] = None
    """Number of eval prompts to answer at each evaluation during training; `eval_pass_rate` is logged."""
    max_new_tokens: Count = 256
    """Maximum length of an answer, in tokens."""
    max_rows: Count | None = None
    """Generate answers for at most this many eval rows. Default: all."""
    batch_size: Count = 16
    """Number of answers generated in one batch."""
    backend: Literal["transformers", "vllm"] = "transformers"
    """What generates the answers of `tunesmith evaluate`: `vllm` starts a vLLM server, without an eval loss."""
    endpoint: ServerSection | None = None
    """A server with the tuned model: `tunesmith evaluate` sends it the same prompt tokens as in training."""

    @field_validator("endpoint")
    @classmethod
    def _of_a_server(cls, value: ServerSection | None) -> ServerSection | None:
        """Refuse keys of an endpoint that an evaluation sets itself."""
        if value is None:
            return None
        if keys := {"temperature", "max_tokens"} & value.model_fields_set:
            raise ValueError(f"takes no `{min(keys)}`: decoding is greedy, up to `max_new_tokens` of `evaluation`")
        if value.cache is None and (keys := {"max_requests", "max_cost"} & value.model_fields_set):
            raise ValueError(f"has `{min(keys)}`, which needs `cache`: the folder of the reply cache")
        return value

    @model_validator(mode="after")
    def _one_backend(self) -> "Evaluation":
        if self.endpoint and self.backend == "vllm":
            raise ValueError("has `backend: vllm`, which starts a server, and `endpoint`, which is one: use only one")
        return self

    @field_validator("metrics", mode="before")
    @classmethod
    def _as_names(cls, value: Any) -> Any:
        """Take `- regex: ^a` with and without quotes, and look whether every metric is one."""
        if not isinstance(value, list):
            return value
        names = [
            f"regex: {item['regex']}" if isinstance(item, dict) and set(item) == {"regex"} else item for item in value
        ]
        for name in names:
            if isinstance(name, str) and name.startswith("regex:"):
                try:
                    re.compile(name.removeprefix("regex:").strip())
                except re.error as error:
                    raise ValueError(f"has `{name}`, which is not a regular expression: {error}") from None
            elif name not in METRICS and not (isinstance(name, str) and re.search(r"\.py:\w+$", name)):
                metric_names = ", ".join(METRICS)
                near = did_you_mean(str(name), METRICS)
                raise ValueError(
                    f"has `{name}`; known are {metric_names}, `regex: PATTERN` and `file.py:function`{near}"
                )
        return names


class EvaluationSection(Section):
    """How the model's answers are evaluated: by `tunesmith evaluate`, and during training."""

    evaluation: Evaluation = Evaluation()
    """Assertions and how answers are generated."""
    judge: Judge | None = None
    """LLM judge that grades answers by a rubric: `tunesmith judge`."""
    generate_samples: Annotated[bool, EVALUATED, NO_EVALUATION, NO_PAIRS] = False
    """At each evaluation, print answers to some eval prompts and append them to run/samples.jsonl."""
    num_generation_samples: Annotated[Count, SAMPLED] = 3
    """Number of these prompts, spread over the eval rows; the same ones each time."""
    generation_max_new_tokens: Annotated[Count | None, OnlyFor(generate_samples=True, do_causal_lm_eval=True)] = None
    """Maximum length of an answer, in tokens. Default: 50, and 128 for `do_causal_lm_eval`."""
    generation_do_sample: Annotated[bool | None, SAMPLED] = None
    """Sample instead of greedy decoding. Default: true if a temperature, top_p or top_k is set."""
    generation_temperature: Annotated[NonNegative, SAMPLED, DRAWN] = 0.7
    """Sampling temperature."""
    generation_top_p: Annotated[Fraction | None, SAMPLED, DRAWN] = None
    """Nucleus sampling (top-p): sample from the most likely tokens with this total probability."""
    generation_top_k: Annotated[Count | None, SAMPLED, DRAWN] = None
    """Top-k sampling: sample from this many of the most likely tokens."""
    generation_prompt_ratio: Annotated[Fraction, OnlyFor(generate_samples=True, do_causal_lm_eval=True)] = 0.5
    """For samples without a prompt (`completion`), the fraction of the text that is the prompt."""
    do_causal_lm_eval: Annotated[bool, EVALUATED, NO_EVALUATION, NO_PAIRS] = False
    """At each evaluation, answer the eval prompts (all, or `evaluation.max_rows`) and score the answers."""
    eval_causal_lm_metrics: Annotated[
        list[Literal["sacrebleu", "chrf", "ter", "perplexity"]], OnlyFor(do_causal_lm_eval=True)
    ] = ["sacrebleu", "chrf", "ter"]
    """Metrics of answers against the reference answers; needs the package sacrebleu. Perplexity is always reported."""

    @field_validator("eval_causal_lm_metrics", mode="before")
    @classmethod
    def _no_comet(cls, value: Any) -> Any:
        if isinstance(value, list) and "comet" in value:
            raise ValueError("does not take `comet`, which needs a large model; `chrf` is the closest metric")
        return value

    @property
    def draws(self) -> bool:
        """Whether samples are sampled, not decoded greedily."""
        sampling_keys = {"generation_temperature", "generation_top_p", "generation_top_k"} & self.model_fields_set
        return bool(sampling_keys) if self.generation_do_sample is None else self.generation_do_sample
