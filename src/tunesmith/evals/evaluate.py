"""The story of an evaluation: the loss on held-out rows, then answers to them and what the assertions say."""

from collections.abc import Iterable, Iterator
from typing import Any, NamedTuple

from transformers import PrinterCallback

from tunesmith.assertions import Case, Jury, Verdict, jury
from tunesmith.config.sections import Config
from tunesmith.data import source as data_source
from tunesmith.data.formats.specs import format_specs
from tunesmith.data.question import Question, question
from tunesmith.data.splits import Splits, prepare_splits
from tunesmith.data.tokenizer import ChatTemplate, Tokenizer
from tunesmith.data.types import Row
from tunesmith.errors import ConfigError
from tunesmith.evals.report import Answer, Judged, Report
from tunesmith.generation.voices import load_voices
from tunesmith.hardware import Hardware, detect
from tunesmith.log import note, progress
from tunesmith.modeling.generate import Sampling, Voice, end_tokens, generate
from tunesmith.modeling.precision import choose_precision
from tunesmith.modeling.tokenizer import model_tokenizer
from tunesmith.training.args import plan_steps, training_arguments
from tunesmith.training.collate import FlatCollator, held_out_sequences, takes_logits_to_keep
from tunesmith.training.trainer import TokenMeanTrainer


class Asked(NamedTuple):
    """A held-out row, the question that it is, and the chat template if it has one."""

    row: Row
    question: Question
    template: ChatTemplate | None


def evaluate(config: Config, *, base: bool = False, tuned: bool = True) -> Report:
    """Return losses, and answers with verdicts, for the tuned model and if asked the base model.

    Raises:
        ConfigError: the config has no held-out rows, or an assertion is at fault.
    """
    if config.data.rl:
        raise ConfigError(
            f"`rl: {config.data.rl}`: pairs of answers are not evaluated here; `train` reports their held-out loss. "
            "Take a file without `rl`, whose rows are questions with answers"
        )
    if not (config.data.test_datasets or config.data.val_set_size):
        raise ConfigError("there is nothing to evaluate on; set `val_set_size: 0.05` or `test_datasets`")
    section = config.evaluation.evaluation
    if not section.assertions:
        return _evaluate(config, None, base=base, tuned=tuned)
    with jury(section.assertions, config.source, section.assertion_seconds) as judge:
        return _evaluate(config, judge, base=base, tuned=tuned)


def _evaluate(config: Config, judge: Jury | None, *, base: bool, tuned: bool) -> Report:
    tokenizer = model_tokenizer(config.model)
    hardware = detect()
    voices = load_voices(config, hardware, tuned=tuned, base=base)
    splits = prepare_splits(config, tokenizer)
    report = Report(assertions=judge.names if judge else [])
    for voice in voices:
        report.losses[voice.name] = held_out_loss(voice, splits, config, hardware)
        note(f"{voice.name}: held-out loss {report.losses[voice.name]['loss']:.4f}")
    asked = list(_questions(config, splits.held_out, tokenizer))
    answers = {voice.name: _judged(_answers(voice, asked, tokenizer, config), asked, judge) for voice in voices}
    for index, item in enumerate(asked):
        judged = {name: found[index] for name, found in answers.items()}
        report.rows.append(Judged(item.row.file, item.row.number, item.question.text, item.question.reference, judged))
    return report


def _judged(texts: list[str], asked: list[Asked], judge: Jury | None) -> list[Answer]:
    """Return the answers with what the assertions say of them."""
    cases = [
        Case(item.row.values, text, item.question.reference, f"{item.row.file}:{item.row.number}")
        for text, item in zip(texts, asked, strict=True)
    ]
    verdicts: Iterable[list[Verdict]] = judge(cases) if judge else ([] for _ in cases)
    return [
        Answer(case.answer, case.answer.strip() == case.reference.strip(), [v for v in found if not v.ok])
        for case, found in zip(cases, verdicts, strict=True)
    ]


def held_out_loss(voice: Voice, splits: Splits, config: Config, hardware: Hardware) -> dict[str, float]:
    """Return loss per trained token, perplexity and the number of tokens, as training would report them."""
    sequences = held_out_sequences(splits, config.data)
    schedule = plan_steps(config.training, 1, 1)
    arguments = training_arguments(
        config.training, schedule, choose_precision(config.model, hardware), hardware, has_eval=True
    )
    collator = FlatCollator(keep_logits=takes_logits_to_keep(voice.model))
    trainer = TokenMeanTrainer(voice.model, arguments, data_collator=collator, eval_dataset=sequences)
    trainer.remove_callback(PrinterCallback)
    with voice.speaking():
        metrics = trainer.evaluate()
    voice.model.eval()
    return {key.removeprefix("eval_"): value for key, value in metrics.items()}


def _questions(config: Config, held_out: Any, tokenizer: Tokenizer) -> Iterator[Asked]:
    """Yield the held-out rows that have a prompt, read again from their files, in the files' order."""
    wanted = set(zip(held_out["file"], held_out["row"], strict=True))
    limit = config.evaluation.evaluation.max_rows or len(wanted)
    datasets = config.data.test_datasets or config.data.datasets
    data = config.data.for_tests() if config.data.test_datasets else config.data
    specs = format_specs(datasets, data, config.model, tokenizer, config.source)
    count = 0
    for spec in specs:
        for row in data_source.read_rows(spec.dataset, config.source):
            if count == limit:
                return
            if isinstance(row, Row) and (row.file, row.number) in wanted:
                found = question(row.values, spec, tokenizer, config.source)
                if found is not None:
                    count += 1
                    yield Asked(row, found, spec.template)


def _answers(voice: Voice, asked: list[Asked], tokenizer: Tokenizer, config: Config) -> list[str]:
    section = config.evaluation.evaluation
    if not asked:
        return []
    ends = end_tokens(voice.model, tokenizer, asked[0].template)
    with progress(f"answers of the {voice.name} model", total=len(asked), unit="rows") as advance:
        return generate(
            voice,
            [item.question.input_ids for item in asked],
            tokenizer,
            Sampling(max_new_tokens=section.max_new_tokens),
            ends=ends,
            batch_size=section.batch_size,
            advance=advance,
        )
