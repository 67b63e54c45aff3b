"""The story of an evaluation: the loss on held-out rows, then answers to them and what the assertions say."""

from transformers import PrinterCallback

from tunesmith.assertions import Case, Verdict, open_assertions
from tunesmith.data.held_out import Asked, held_out_questions
from tunesmith.data.splits import Splits, prepare_splits
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.errors import ConfigError
from tunesmith.evals.baseline import Baseline
from tunesmith.evals.metrics import Metric, load_metrics
from tunesmith.evals.report import Answer, JudgedRow, Report
from tunesmith.generation.served import check_served, served_answers
from tunesmith.generation.variants import load_base_variant, load_variants
from tunesmith.hardware import Hardware, detect
from tunesmith.log import note, progress
from tunesmith.modeling.generate import ModelVariant, Sampling, end_tokens, generate
from tunesmith.modeling.precision import choose_precision
from tunesmith.modeling.tokenizer import model_tokenizer
from tunesmith.sections import Config
from tunesmith.training.arguments import plan_steps, training_arguments
from tunesmith.training.collate import FlatCollator, held_out_sequences, takes_logits_to_keep
from tunesmith.training.trainer import TokenMeanTrainer


def check_evaluation(config: Config) -> list[Metric]:
    """Look whether a config can be evaluated, and return its metrics.

    Raises:
        ConfigError: the config has no held-out rows, or names what is not there.
    """
    if config.data.rl:
        raise ConfigError(
            f"`rl: {config.data.rl}`: pairs of answers are not evaluated here; `train` reports their eval loss. "
            "Take a file without `rl`, whose rows are questions with answers"
        )
    if not (config.data.test_datasets or config.data.val_set_size):
        raise ConfigError("there is nothing to evaluate on; set `val_set_size: 0.05` or `test_datasets`")
    section = config.evaluation.evaluation
    if section.assertions:
        with open_assertions(section.assertions, config.source, workers=1):
            pass
    return load_metrics(section.metrics, config.source)


def evaluate(config: Config, *, base: bool = False, tuned: bool = True, baseline: Baseline | None = None) -> Report:
    """Return losses, and answers with verdicts, for the tuned model, if asked the base model, and an earlier report.

    Raises:
        ConfigError: the config has no held-out rows, or an assertion is at fault.
        DataError: the earlier report is about other rows.
    """
    metrics = check_evaluation(config)
    check_served(config, tuned=tuned)
    tokenizer = model_tokenizer(config.model)
    hardware = detect()
    variants = _local_variants(config, hardware, tuned=tuned, base=base)
    splits = prepare_splits(config, tokenizer)
    asked = list(held_out_questions(config, splits.held_out, tokenizer, config.evaluation.evaluation.max_rows))
    report = Report(metrics=[metric.name for metric in metrics])
    answers = {}
    if baseline:
        answers["baseline"] = baseline.answers([item.question.text for item in asked])
        report.losses["baseline"] = baseline.losses
    for variant in variants:
        report.losses[variant.name] = held_out_loss(variant, splits, config, hardware)
        note(f"{variant.name}: eval loss {report.losses[variant.name]['loss']:.4f}")
    answers |= {variant.name: _answers(variant, asked, tokenizer, config) for variant in variants}
    served = served_answers(config, hardware, asked, tokenizer, base=base, tuned=tuned)
    for name in served:
        report.losses[name] = {}
        note(f"{name}: no eval loss, because a server does not report it")
    answers |= served
    report.assertions, failed = _failed(config, asked, answers)
    for index, (row, found, _) in enumerate(asked):
        said = {}
        for name, texts in answers.items():
            scores = {metric.name: metric.measure(row.values, texts[index], found.reference) for metric in metrics}
            said[name] = Answer(texts[index], scores, failed[name][index])
        report.rows.append(JudgedRow(row.file, row.number, found.text, found.reference, said))
    return report


def _local_variants(config: Config, hardware: Hardware, *, tuned: bool, base: bool) -> list[ModelVariant]:
    """Return the models that are loaded here, which are those that no server holds."""
    section = config.evaluation.evaluation
    if section.backend == "vllm":
        return []
    if section.endpoint:
        return [load_base_variant(config.model, hardware)] if base else []
    return load_variants(config, hardware, tuned=tuned, base=base)


def _failed(
    config: Config, asked: list[Asked], answers: dict[str, list[str]]
) -> tuple[list[str], dict[str, list[list[Verdict]]]]:
    """Return the names of the assertions, and for each variant and each of its answers those that it fails."""
    section = config.evaluation.evaluation
    if not section.assertions:
        return [], {name: [[] for _ in asked] for name in answers}
    failed = {}
    with open_assertions(section.assertions, config.source, section.assertion_seconds) as runner:
        for name, texts in answers.items():
            cases = (
                Case(item.row.values, text, item.question.reference, f"{item.row.file}:{item.row.number}")
                for item, text in zip(asked, texts, strict=True)
            )
            failed[name] = [[verdict for verdict in verdicts if not verdict.ok] for verdicts in runner(cases)]
        return runner.names, failed


def held_out_loss(variant: ModelVariant, splits: Splits, config: Config, hardware: Hardware) -> dict[str, float]:
    """Return loss per trained token, perplexity and the number of tokens, as training would report them."""
    sequences = held_out_sequences(splits, config.data)
    schedule = plan_steps(config.training, 1, 1)
    precision = choose_precision(config.model, hardware)
    arguments = training_arguments(config.training, schedule, precision, hardware, has_eval=True)
    collator = FlatCollator(keep_logits=takes_logits_to_keep(variant.model))
    trainer = TokenMeanTrainer(
        variant.model, arguments, data_collator=collator, eval_dataset=sequences, autocast=precision.autocast
    )
    trainer.remove_callback(PrinterCallback)
    with variant.activate():
        metrics = trainer.evaluate()
    variant.model.eval()
    return {key.removeprefix("eval_"): value for key, value in metrics.items()}


def _answers(variant: ModelVariant, asked: list[Asked], tokenizer: Tokenizer, config: Config) -> list[str]:
    section = config.evaluation.evaluation
    if not asked:
        return []
    ends = end_tokens(variant.model, tokenizer, asked[0].template)
    with progress(f"answers of the {variant.name} model", total=len(asked), unit="rows") as advance:
        return generate(
            variant,
            [item.question.input_ids for item in asked],
            tokenizer,
            Sampling(max_new_tokens=section.max_new_tokens),
            ends=ends,
            batch_size=section.batch_size,
            advance=advance,
        )
