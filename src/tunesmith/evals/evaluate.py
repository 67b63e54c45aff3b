"""The top-level function of an evaluation: loss on the eval rows, then answers to them, metrics and assertions."""

from transformers import PrinterCallback

from tunesmith.assertions import Case, Verdict, open_assertions
from tunesmith.data.held_out import Asked, held_out_questions
from tunesmith.data.splits import Splits, prepare_splits
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.errors import ConfigError
from tunesmith.evals.baseline import Baseline
from tunesmith.evals.metrics import Metric, load_metrics
from tunesmith.evals.report import Answer, JudgedRow, Report
from tunesmith.generation.served import check_served, get_served_answers
from tunesmith.generation.variants import load_base_variant, load_variants
from tunesmith.hardware import Hardware, detect
from tunesmith.log import note, progress
from tunesmith.modeling.generate import ModelVariant, Sampling, find_hidden_tokens, find_stop_tokens, generate
from tunesmith.modeling.precision import choose_precision
from tunesmith.modeling.tokenizer import model_tokenizer
from tunesmith.sections import Config, Evaluation
from tunesmith.training.arguments import plan_steps, training_arguments
from tunesmith.training.collate import FlatCollator, held_out_sequences, takes_logits_to_keep
from tunesmith.training.trainer import TokenMeanTrainer


def check_evaluation(config: Config) -> list[Metric]:
    """Check that a config can be evaluated, and return its metrics.

    Raises:
        ConfigError: the config has no eval rows, or names something that does not exist.
    """
    if config.data.rl:
        raise ConfigError(
            f"`rl: {config.data.rl}`: preference pairs are not evaluated here; `train` reports their eval loss. "
            "Use a config without `rl`, whose rows are prompts with answers"
        )
    if not (config.data.test_datasets or config.data.val_set_size):
        raise ConfigError("there is nothing to evaluate on; set `val_set_size: 0.05` or `test_datasets`")
    section = config.evaluation.evaluation
    if section.assertions:
        with open_assertions(section.assertions, config.source, workers=1):
            pass
    return load_metrics(section.metrics, config.source)


def evaluate(config: Config, *, base: bool = False, tuned: bool = True, baseline: Baseline | None = None) -> Report:
    """Return losses and judged answers of the tuned model, on request of the base model, and of an earlier report.

    Raises:
        ConfigError: the config has no eval rows, or an assertion is at fault.
        DataError: the earlier report has other rows.
    """
    metrics = check_evaluation(config)
    check_served(config, tuned=tuned)
    section = config.evaluation.evaluation
    tokenizer = model_tokenizer(config.model)
    hardware = detect()
    variants = _load_local_variants(config, hardware, tuned=tuned, base=base)
    splits = prepare_splits(config, tokenizer)
    eval_rows = list(held_out_questions(config, splits.held_out, tokenizer, section.max_rows))
    report = Report(metrics=[metric.name for metric in metrics])
    answers = {}
    if baseline:
        answers["baseline"] = baseline.answers([row.question.text for row in eval_rows])
        report.losses["baseline"] = baseline.losses
    for variant in variants:
        report.losses[variant.name] = measure_eval_loss(variant, splits, config, hardware)
        note(f"{variant.name}: eval loss {report.losses[variant.name]['loss']:.4f}")
    for variant in variants:
        answers[variant.name] = _generate_answers(variant, eval_rows, tokenizer, section)
    served = get_served_answers(config, hardware, eval_rows, tokenizer, base=base, tuned=tuned)
    for name in served:
        report.losses[name] = {}
        note(f"{name}: no eval loss, because a server does not report it")
    answers |= served
    report.assertions, failed = _run_assertions(config, eval_rows, answers)
    for index, (row, question, _) in enumerate(eval_rows):
        judged = {}
        for name, texts in answers.items():
            scores = {metric.name: metric.measure(row.values, texts[index], question.reference) for metric in metrics}
            judged[name] = Answer(texts[index], scores, failed[name][index])
        report.rows.append(JudgedRow(row.file, row.number, question.text, question.reference, judged))
    return report


def _load_local_variants(config: Config, hardware: Hardware, *, tuned: bool, base: bool) -> list[ModelVariant]:
    """Return the variants that no server holds."""
    section = config.evaluation.evaluation
    if section.backend == "vllm":
        return []
    if section.endpoint:
        return [load_base_variant(config.model, hardware)] if base else []
    return load_variants(config, hardware, tuned=tuned, base=base)


def _run_assertions(
    config: Config, eval_rows: list[Asked], answers: dict[str, list[str]]
) -> tuple[list[str], dict[str, list[list[Verdict]]]]:
    """Return the names of the assertions, and for each variant the failed verdicts of each answer."""
    section = config.evaluation.evaluation
    if not section.assertions:
        return [], {name: [[] for _ in eval_rows] for name in answers}
    failed = {}
    with open_assertions(section.assertions, config.source, section.assertion_seconds) as runner:
        for name, texts in answers.items():
            cases = (
                Case(item.row.values, text, item.question.reference, f"{item.row.file}:{item.row.number}")
                for item, text in zip(eval_rows, texts, strict=True)
            )
            failed[name] = [[verdict for verdict in verdicts if not verdict.ok] for verdicts in runner(cases)]
        return runner.names, failed


def measure_eval_loss(variant: ModelVariant, splits: Splits, config: Config, hardware: Hardware) -> dict[str, float]:
    """Return loss per token in the loss, perplexity and the number of tokens, as training reports them."""
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


def _generate_answers(
    variant: ModelVariant, eval_rows: list[Asked], tokenizer: Tokenizer, section: Evaluation
) -> list[str]:
    if not eval_rows:
        return []
    with progress(f"answers of the {variant.name} model", total=len(eval_rows), unit="rows") as advance:
        return generate(
            variant,
            [row.question.input_ids for row in eval_rows],
            tokenizer,
            Sampling(max_new_tokens=section.max_new_tokens),
            ends=find_stop_tokens(variant.model, tokenizer, eval_rows[0].template),
            hidden=find_hidden_tokens(tokenizer, eval_rows[0].template),
            batch_size=section.batch_size,
            advance=advance,
        )
