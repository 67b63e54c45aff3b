"""The story of a training run: data, model, steps, weights, record."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from transformers import EarlyStoppingCallback, PrinterCallback, ProgressCallback, set_seed

from tunesmith.checks.doctor import quick_checks
from tunesmith.checks.manifest import save_manifest, served_as_trained
from tunesmith.config.sections import Config, DataSection, TrainingSection
from tunesmith.data.splits import Splits, describe, prepare_splits
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.errors import RunError
from tunesmith.hardware import Hardware, detect
from tunesmith.log import is_main_process, note
from tunesmith.modeling.adapters import load_adapter, new_adapter
from tunesmith.modeling.attention import DOCUMENTS
from tunesmith.modeling.builtin import local_base_model
from tunesmith.modeling.load import load_base_model, training_attention
from tunesmith.modeling.precision import Precision, choose_precision
from tunesmith.modeling.tokenizer import model_tokenizer
from tunesmith.training.args import (
    Decision,
    Schedule,
    choose_optimizer,
    choose_scheduler,
    plan_steps,
    training_arguments,
)
from tunesmith.training.callbacks import CleanStop, LossWatch, Reporter
from tunesmith.training.checkpoints import remove_broken, step_of, whole_checkpoints
from tunesmith.training.collate import FlatCollator, Sequences, held_out_sequences, takes_logits_to_keep
from tunesmith.training.launch import check_launch, check_world
from tunesmith.training.output import changed_settings, check_disk, full_disk_explained, move_aside, starting_point
from tunesmith.training.record import RunRecord
from tunesmith.training.trainer import TokenMeanTrainer


@dataclass(frozen=True)
class Outcome:
    """How a run ended.

    Attributes:
        finished: all steps were done; otherwise it was interrupted and can be resumed.
        step: the last step done.
        losses: metrics of every logged step and evaluation.
    """

    finished: bool
    step: int
    losses: list[dict[str, Any]]


def train(config: Config, *, resume: bool = False, overwrite: bool = False) -> Outcome:
    """Train what the config says and return how it ended; the weights and the record are in `output_dir`.

    Raises:
        UserError: of every kind; the checkpoints saved before it are whole.
    """
    hardware = detect()
    check_launch(hardware.kind)
    training = config.training
    output = Path(training.output_dir)
    checkpoint = starting_point(training, resume=resume, overwrite=overwrite)
    precision = choose_precision(config.model, hardware)
    attention, attention_why = training_attention(config.model, hardware)
    replaced = _replaced_names(training, hardware)
    tokenizer = model_tokenizer(config.model)
    splits = _checked_splits(config, tokenizer)
    prompts = served_as_trained(config, tokenizer)
    sequences = Sequences(splits.train, packed=config.data.sample_packing, sequence_len=config.data.sequence_len)
    held_out = None if splits.held_out is None else held_out_sequences(splits.held_out, config.data)
    schedule = plan_steps(training, len(sequences), _world_size())
    arguments = training_arguments(training, schedule, precision, hardware, has_eval=held_out is not None)
    check_world(arguments.world_size)

    set_seed(training.seed)
    model = build_model(config, precision, attention)
    _print_decisions(
        Decision("hardware", str(hardware), "detected"),
        Decision("precision", f"{precision.compute}, trained weights {precision.trained}", precision.reason),
        Decision("attention", str(attention), attention_why),
        *replaced,
        Decision("trained", _parameters(model), f"adapter: {config.adapter.adapter or 'none, all weights'}"),
        Decision("steps", str(schedule.steps), _steps_reason(schedule, sequences, config.data)),
    )
    check_disk(output, _checkpoint_bytes(model), training.save_total_limit)
    record, stop = RunRecord(output / "run"), CleanStop()
    trainer = TokenMeanTrainer(
        model=model,
        args=arguments,
        train_dataset=sequences,
        eval_dataset=held_out,
        data_collator=FlatCollator(attention == DOCUMENTS, keep_logits=takes_logits_to_keep(model)),
        processing_class=tokenizer,
    )
    with full_disk_explained(output):
        if is_main_process():
            _open_record(config, record, splits, prompts, checkpoint, overwrite=overwrite)
        _set_callbacks(trainer, training, record, stop)
        with record.failure_noted(is_main_process()):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        return _finish(trainer, record, interrupted=stop.requested)


def _checked_splits(config: Config, tokenizer: Tokenizer) -> Splits:
    """Look at the data, prepare it, and say what became of it."""
    quick_checks(config, tokenizer, model_folder=local_base_model(config.model.base_model))
    splits = prepare_splits(config, tokenizer, world_size=_world_size())
    note("\n".join(describe(splits.parts)))
    return splits


def _set_callbacks(trainer: TokenMeanTrainer, training: TrainingSection, record: RunRecord, stop: CleanStop) -> None:
    """Put our lines and record in place of transformers' own."""
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(stop)
    trainer.add_callback(LossWatch(training.loss_watchdog_threshold, training.loss_watchdog_patience))
    if is_main_process():
        trainer.add_callback(Reporter(record))
    if training.early_stopping_patience:
        trainer.add_callback(EarlyStoppingCallback(training.early_stopping_patience))


def build_model(config: Config, precision: Precision, attention: str | None) -> Any:
    """Return the model to train: all weights, or frozen ones with an adapter."""
    adapter = config.adapter
    dtype = precision.frozen if adapter.adapter else precision.trained
    model = load_base_model(config.model, dtype, attention=attention)
    if config.training.gradient_checkpointing:
        model.enable_input_require_grads()  # reentrant checkpoints pass no gradient where no input needs one
    if adapter.lora_model_dir:
        return load_adapter(model, adapter.lora_model_dir, trained=precision.trained)
    return new_adapter(model, adapter, precision.trained) if adapter.adapter else model


def _world_size() -> int:
    return int(os.environ.get("WORLD_SIZE", "1"))


def _parameters(model: Any) -> str:
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    total = sum(parameter.numel() for parameter in model.parameters())
    return f"{trained:,} of {total:,} weights"


def _checkpoint_bytes(model: Any) -> int:
    """Trained weights and AdamW's two states."""
    return 3 * sum(int(p.numel()) * int(p.element_size()) for p in model.parameters() if p.requires_grad)


def _steps_reason(schedule: Schedule, sequences: Sequences, data: DataSection) -> str:
    if not data.sample_packing:
        return f"{len(sequences):,} samples, {schedule.sequences} a step"
    full = 100 * sequences.tokens / (len(sequences) * data.sequence_len)
    return f"{len(sequences):,} sequences of {data.sequence_len} tokens, {full:.0f}% full, {schedule.sequences} a step"


def _replaced_names(training: TrainingSection, hardware: Hardware) -> list[Decision]:
    """Check the names of optimizer and schedule before anything slow, and say which optimizer is replaced."""
    choose_scheduler(training)
    optimizer, why = choose_optimizer(training.optimizer, hardware)
    return [Decision("optimizer", optimizer, why)] if why else []


def _print_decisions(*decisions: Decision) -> None:
    width = max(len(item.key) for item in decisions)
    for item in decisions:
        note(f"{item.key:<{width}}  {item.value}  ({item.why})")


def _open_record(
    config: Config,
    record: RunRecord,
    splits: Splits,
    prompts: dict[str, Any],
    checkpoint: Path | None,
    *,
    overwrite: bool,
) -> None:
    """Start the record anew, or take up that of the run that goes on."""
    output = record.folder.parent
    prepared = [part.folder.name for part in splits.parts]
    if checkpoint is None:
        if overwrite and (aside := move_aside(output)):
            note(f"the run that was in {output} is now in {aside}")
        output.mkdir(parents=True, exist_ok=True)
    else:
        before = record.about()
        if before.get("prepared", prepared) != prepared:
            raise RunError(
                f"the data is not what the run in {output} began with, so that it cannot go on exactly; "
                "undo the change, or start anew with --overwrite"
            )
        if record.config_file.exists():
            old = yaml.safe_load(record.config_file.read_text())
            for change in changed_settings(old, config.values):
                note(f"warning: resuming with another setting: {change}")
        record.forget_after(step_of(checkpoint))
        note(f"going on from {checkpoint}")
    for name in remove_broken(output):
        note(f"removed {name}, which was not saved to the end")
    record.start(config.values, {"source": config.source, "prepared": prepared})
    save_manifest(prompts, record.folder)


def _finish(trainer: TokenMeanTrainer, record: RunRecord, *, interrupted: bool) -> Outcome:
    """Save the result and close the record."""
    state = trainer.state
    output = record.folder.parent
    finished = not interrupted or state.global_step >= state.max_steps
    if finished:
        trainer.save_model(str(output))
    if is_main_process():
        record.update({"status": "finished" if finished else "interrupted", "step": state.global_step})
        plot = record.plot()
        _say_how_it_ended(output, finished, state.global_step, state.max_steps, plot)
    return Outcome(finished, state.global_step, record.metrics())


def _say_how_it_ended(output: Path, finished: bool, step: int, steps: int, plot: Path | None) -> None:
    if finished:
        note(f"done: weights in {output}, record in {output / 'run'}" + (f", loss curve in {plot}" if plot else ""))
    elif checkpoints := whole_checkpoints(output):
        note(f"stopped at step {step} of {steps}; saved {checkpoints[-1]}. Go on with the same command and --resume")
