"""The story of an evaluation: the loss on held-out rows, then answers to them and what the assertions say."""

from transformers import PrinterCallback

from tunesmith.config.sections import Config
from tunesmith.data.held_out import Asked, held_out_questions
from tunesmith.data.splits import Splits, prepare_splits
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.errors import ConfigError
from tunesmith.evals.assertions import Assertion, judge, load_assertions
from tunesmith.evals.baseline import Baseline
from tunesmith.evals.metrics import Metric, load_metrics
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


def judges(config: Config) -> tuple[list[Assertion], list[Metric]]:
    """Return the assertions and metrics of a config that can be evaluated.

    Raises:
        ConfigError: the config has no held-out rows, or names what is not there.
    """
    if config.data.rl:
        raise ConfigError(
            f"`rl: {config.data.rl}`: pairs of answers are not evaluated here; `train` reports their held-out loss. "
            "Take a file without `rl`, whose rows are questions with answers"
        )
    if not (config.data.test_datasets or config.data.val_set_size):
        raise ConfigError("there is nothing to evaluate on; set `val_set_size: 0.05` or `test_datasets`")
    section = config.evaluation.evaluation
    assertions = load_assertions(section.assertions, config.source) if section.assertions else []
    return assertions, load_metrics(section.metrics, config.source)


def evaluate(config: Config, *, base: bool = False, tuned: bool = True, baseline: Baseline | None = None) -> Report:
    """Return losses, and answers with verdicts, for the tuned model, if asked the base model, and an earlier report.

    Raises:
        ConfigError: the config has no held-out rows, or an assertion is at fault.
        DataError: the earlier report is about other rows.
    """
    assertions, metrics = judges(config)
    tokenizer = model_tokenizer(config.model)
    hardware = detect()
    voices = load_voices(config, hardware, tuned=tuned, base=base)
    splits = prepare_splits(config, tokenizer)
    asked = list(held_out_questions(config, splits.held_out, tokenizer, config.evaluation.evaluation.max_rows))
    report = Report(assertions=[item.__name__ for item in assertions], metrics=[item.name for item in metrics])
    answers = {}
    if baseline:
        answers["baseline"] = baseline.answers([item.question.text for item in asked])
        report.losses["baseline"] = baseline.losses
    for voice in voices:
        report.losses[voice.name] = held_out_loss(voice, splits, config, hardware)
        note(f"{voice.name}: held-out loss {report.losses[voice.name]['loss']:.4f}")
    answers |= {voice.name: _answers(voice, asked, tokenizer, config) for voice in voices}
    judged = {name: _judged(asked, texts, assertions, metrics) for name, texts in answers.items()}
    for index, (row, found, _) in enumerate(asked):
        voices_of_row = {name: judgements[index] for name, judgements in judged.items()}
        report.rows.append(Judged(row.file, row.number, found.text, found.reference, voices_of_row))
    return report


def _judged(
    asked: list[Asked], texts: list[str], assertions: list[Assertion], metrics: list[Metric]
) -> list[Answer]:
    """Return what assertions and metrics say of the answers of one voice."""
    answers = []
    for item, text in zip(asked, texts, strict=True):
        row, reference = item.row.values, item.question.reference
        failed = [verdict for verdict in judge(assertions, row, text, reference) if not verdict.ok]
        scores = {metric.name: metric.measure(row, text, reference) for metric in metrics}
        answers.append(Answer(text, scores, failed))
    return answers


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
