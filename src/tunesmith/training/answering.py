"""Answers during training: at each evaluation the model answers held-out prompts, to be read and to be scored.

A prompt is the beginning of a prepared sample up to its last answer, so that it is token for token what is trained.
"""

from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, NamedTuple

import torch
from tqdm import tqdm

from tunesmith.assertions import Case, open_assertions
from tunesmith.data.formats.specs import format_specs
from tunesmith.data.held_out import held_out_questions
from tunesmith.data.splits import Splits
from tunesmith.data.tokenizer import ChatTemplate, Tokenizer
from tunesmith.data.types import MASKED, Example
from tunesmith.errors import ConfigError
from tunesmith.modeling.attention import DOCUMENTS
from tunesmith.modeling.generate import (
    ModelVariant,
    Sampling,
    decode_answer,
    find_hidden_tokens,
    find_stop_tokens,
    generate,
)
from tunesmith.sections import Config, EvaluationSection
from tunesmith.training.record.run_record import RunRecord

if TYPE_CHECKING:
    from datasets import Dataset

    from tunesmith.modeling.causal_lm import CausalLM


class EvalPrompt(NamedTuple):
    """The token ids of a prompt from the eval set, and the reference answer."""

    input_ids: list[int]
    expected: str


def split(example: Example, ratio: float, tokenizer: Tokenizer, hidden: Collection[int]) -> EvalPrompt:
    """Return what comes before the last trained span, and that span; where all is trained, a share of it is asked."""
    end = max((position for position, label in enumerate(example.labels) if label != MASKED), default=0) + 1
    start = end
    while start and example.labels[start - 1] != MASKED:
        start -= 1
    if start <= 1:  # nothing, or the begin token alone
        start = max(1, int(end * ratio))
    return EvalPrompt(example.input_ids[:start], decode_answer(example.input_ids[start:end], tokenizer, hidden))


@dataclass(frozen=True)
class Assertions:
    """The user's assertions, and the held-out prompts that are answered for them.

    Attributes:
        path: their file.
        source: the config's file.
        seconds: how long one call may take.
        prompts: the prompts.
        rows: the row of each.
    """

    path: str
    source: str
    seconds: float
    prompts: list[EvalPrompt]
    rows: list[dict[str, Any]]

    def pass_rate(self, answers: Sequence[str]) -> float:
        """Return the share of answers that pass all assertions."""
        cases = [
            Case(row, text, item.expected) for row, text, item in zip(self.rows, answers, self.prompts, strict=True)
        ]
        with open_assertions(self.path, self.source, self.seconds) as runner:
            return sum(all(verdict.ok for verdict in verdicts) for verdicts in runner(cases)) / len(cases)


@dataclass(frozen=True)
class Answers:
    """What the model answers to held-out prompts.

    Attributes:
        section: how many prompts, how answers are made, which scores are wanted.
        held_out: the prepared samples.
        tokenizer: the model's.
        template: the chat template whose end of turn ends an answer, if there is one.
        attention: the model's attention code in training.
        record: where the answers go.
        is_main: whether this process writes them.
        assertions: the assertions to run on answers, with their prompts; None if the config sets none.
    """

    section: EvaluationSection
    held_out: "Dataset"
    tokenizer: Tokenizer
    template: ChatTemplate | None
    attention: str
    record: RunRecord
    is_main: bool
    assertions: Assertions | None = None

    def __call__(self, model: "CausalLM", step: int) -> dict[str, float]:
        """Write answers down if asked for, and return the scores that are asked for. Training goes on as without."""
        section = self.section
        devices = [model.device] if model.device.type == "cuda" else []
        with torch.random.fork_rng(devices), self._generating(model):
            if section.generate_samples:
                prompts = self._prompts(section.num_generation_samples)
                self._show(step, prompts, self._answers(model, prompts, sampling(section)))
            metrics = {}
            if self.assertions:
                length = Sampling(section.evaluation.max_new_tokens)
                metrics = {
                    "pass_rate": self.assertions.pass_rate(self._answers(model, self.assertions.prompts, length))
                }
            if not section.do_causal_lm_eval:
                return metrics
            prompts = self._prompts(section.evaluation.max_rows)
            answers = self._answers(model, prompts, Sampling(section.generation_max_new_tokens or 128))
        return metrics | scores(section.eval_causal_lm_metrics, answers, [item.expected for item in prompts])

    @contextmanager
    def _generating(self, model: "CausalLM") -> Iterator[None]:
        """Document attention knows no cache."""
        base = model.get_base_model() if hasattr(model, "get_base_model") else model
        if self.attention != DOCUMENTS:
            yield
            return
        base.set_attn_implementation("sdpa")
        try:
            yield
        finally:
            base.set_attn_implementation(DOCUMENTS)

    def _prompts(self, count: int | None) -> list[EvalPrompt]:
        """Return prompts, the same ones each time, from all over the held-out samples."""
        total = len(self.held_out)
        count = min(count or total, total)
        columns = [name for name in ("input_ids", "labels") if name in self.held_out.column_names]
        rows = self.held_out.select_columns(columns).select([index * total // count for index in range(count)])
        ratio, hidden = self.section.generation_prompt_ratio, find_hidden_tokens(self.tokenizer, self.template)
        return [split(Example(**row), ratio, self.tokenizer, hidden) for row in rows]

    def _answers(self, model: "CausalLM", prompts: list[EvalPrompt], sampling: Sampling) -> list[str]:
        ends = find_stop_tokens(model, self.tokenizer, self.template)
        ids = [item.input_ids for item in prompts]
        hidden = find_hidden_tokens(self.tokenizer, self.template)
        size = self.section.evaluation.batch_size
        variant = ModelVariant("trained", model)
        return generate(variant, ids, self.tokenizer, sampling, ends=ends, hidden=hidden, batch_size=size)

    def _show(self, step: int, prompts: list[EvalPrompt], answers: list[str]) -> None:
        if not self.is_main:
            return
        for item, answer in zip(prompts, answers, strict=True):
            prompt = self.tokenizer.decode(item.input_ids)
            self.record.add_sample({"step": step, "prompt": prompt, "answer": answer, "expected": item.expected})
            lines = (("prompt", prompt[-200:]), ("answer", answer), ("expected", item.expected))
            tqdm.write(f"sample at step {step}\n" + "\n".join(f"  {name:<8}  {text!r}" for name, text in lines))


def sampling(section: EvaluationSection) -> Sampling:
    """Return how samples are drawn: the likeliest token each time, or at random."""
    return Sampling(
        max_new_tokens=section.generation_max_new_tokens or 50,
        temperature=section.generation_temperature if section.draws else 0,
        top_p=section.generation_top_p or 1,
        top_k=section.generation_top_k or 0,
    )


def scores(names: Sequence[str], answers: list[str], expected: list[str]) -> dict[str, float]:
    """Return text metrics over all answers; `perplexity` is measured anyway."""
    import sacrebleu

    metrics: dict[str, Any] = {
        "sacrebleu": sacrebleu.corpus_bleu,
        "chrf": sacrebleu.corpus_chrf,
        "ter": sacrebleu.corpus_ter,
    }
    return {name: metrics[name](answers, [expected]).score for name in names if name in metrics}


def answers_during_training(
    config: Config, splits: Splits, tokenizer: Tokenizer, attention: str, record: RunRecord, *, is_main: bool
) -> Answers | None:
    """Return what makes answers at each evaluation; None if the config asks for none.

    Raises:
        ConfigError: a metric needs a package that is not installed.
    """
    section = config.evaluation
    needs_answers = section.generate_samples or section.do_causal_lm_eval or section.evaluation.during_training
    if not needs_answers or splits.held_out is None or config.data.rl:
        return None
    if (
        section.do_causal_lm_eval
        and set(section.eval_causal_lm_metrics) - {"perplexity"}
        and not find_spec("sacrebleu")
    ):
        raise ConfigError("`eval_causal_lm_metrics` needs sacrebleu: pip install 'tunesmith[metrics]'")
    datasets = config.data.test_datasets or config.data.datasets
    spec = format_specs(datasets, config.data, config.model, tokenizer, config.source)[0]
    assertions = _open_assertions(config, splits, tokenizer)
    return Answers(section, splits.held_out, tokenizer, spec.template, attention, record, is_main, assertions)


def _open_assertions(config: Config, splits: Splits, tokenizer: Tokenizer) -> Assertions | None:
    """Return the assertions with `evaluation.during_training` prompts, from all over the held-out rows.

    Raises:
        ConfigError: the assertions can't be used, or no held-out row has a prompt.
    """
    section = config.evaluation.evaluation
    if not section.during_training or not section.assertions:
        return None
    with open_assertions(
        section.assertions, config.source, workers=1
    ):  # what is wrong with them is known before the first step
        pass
    questions = list(held_out_questions(config, splits.held_out, tokenizer))
    if not questions:
        raise ConfigError("`evaluation.during_training`: no held-out row has a prompt; remove it")
    count = min(section.during_training, len(questions))
    subset = [questions[index * len(questions) // count] for index in range(count)]
    prompts = [EvalPrompt(item.question.input_ids, item.question.reference) for item in subset]
    rows = [item.row.values for item in subset]
    return Assertions(section.assertions, config.source, section.assertion_seconds, prompts, rows)
