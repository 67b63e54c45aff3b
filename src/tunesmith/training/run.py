"""The story of a training run: data, model, steps, weights, record."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
import yaml
from transformers import PrinterCallback, ProgressCallback, set_seed

from tunesmith.checks.doctor import quick_checks
from tunesmith.checks.manifest import save_manifest, served_as_trained
from tunesmith.data.splits import Splits, describe, prepare_splits
from tunesmith.data.tokenizer import Tokenizer
from tunesmith.errors import RunError
from tunesmith.hardware import detect
from tunesmith.log import note
from tunesmith.modeling.attention import DOCUMENTS
from tunesmith.modeling.builtin import local_base_model
from tunesmith.modeling.tokenizer import model_tokenizer
from tunesmith.sections import Config, DataSection, TrainingSection
from tunesmith.sections.tracking import without_secrets
from tunesmith.signals import handle_stop_signals
from tunesmith.training.answering import answers_during_training
from tunesmith.training.arguments import Decision, Schedule, accumulation, check_warmup, plan_steps, training_arguments
from tunesmith.training.callbacks import CleanStop, LogLastStep, LossWatch, Reporter, TrainedNothing, asked_for
from tunesmith.training.collate import (
    PIECE,
    FlatCollator,
    Sequences,
    held_out_sequences,
    takes_logits_to_keep,
    training_sequences,
)
from tunesmith.training.model import build_model, model_callbacks
from tunesmith.training.plan import Plan, make_plan
from tunesmith.training.preference import PreferenceTrainer, find_preference_warnings
from tunesmith.training.record.checkpoints import (
    read_prepared,
    remove_broken,
    step_of,
    stopped_early,
    whole_checkpoints,
)
from tunesmith.training.record.output import (
    changed_settings,
    check_disk,
    full_disk_explained,
    move_aside,
    only_writer,
    starting_point,
)
from tunesmith.training.record.publish import publish
from tunesmith.training.record.run_record import RunRecord
from tunesmith.training.record.trackers import tracked
from tunesmith.training.runtime.distribution import fit_fsdp, save_whole
from tunesmith.training.runtime.kernels import fuse_layers, spare_checkpointing
from tunesmith.training.runtime.launch import check_launch, check_world
from tunesmith.training.trainer import TokenMeanTrainer
from tunesmith.world import World, detect_world

if TYPE_CHECKING:
    from tunesmith.modeling.causal_lm import CausalLM


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
    world = detect_world()
    with only_writer(Path(config.training.output_dir), "a run", world):
        return _train(config, world, resume=resume, overwrite=overwrite)


def _train(config: Config, world: World, *, resume: bool, overwrite: bool) -> Outcome:
    hardware = detect()
    check_launch(hardware.kind, world)
    output = Path(config.training.output_dir)
    checkpoint = starting_point(config.training, resume=resume, overwrite=overwrite)
    record = RunRecord(output / "run")
    if checkpoint and record.is_finished and stopped_early(checkpoint, config.training.early_stopping_patience):
        note(f"the run in {output} stopped early at step {step_of(checkpoint)}: nothing is left to train")
        return Outcome(True, step_of(checkpoint), record.metrics())
    plan = make_plan(config, hardware, world)
    tokenizer = model_tokenizer(config.model)
    splits = _checked_splits(config, tokenizer, world)
    prompts = served_as_trained(config, tokenizer)
    stop = CleanStop()
    trainer = _trainer(config, plan, splits, tokenizer, record)
    check_disk(output, _checkpoint_bytes(trainer.model), config.training.save_total_limit)
    with full_disk_explained(output):
        if world.is_main:
            _open_record(config, record, splits, prompts, checkpoint, overwrite=overwrite)
        _set_callbacks(trainer, plan.training, record, stop, world)
        with (
            record.failure_noted(world.is_main),
            tracked(trainer, plan.trackers, config),
            handle_stop_signals(stop.on_signal),
        ):
            trainer.train(resume_from_checkpoint=str(checkpoint) if checkpoint else None)
        outcome = _finish(trainer, record, world, interrupted=stop.requested)
    if outcome.finished and world.is_main:
        publish(config, record)
    return outcome


def _trainer(config: Config, plan: Plan, splits: Splits, tokenizer: Tokenizer, record: RunRecord) -> TokenMeanTrainer:
    """Return the trainer with model and data; print what was decided."""
    at_once = plan.training.micro_batch_size * plan.world.size
    multiple = at_once if plan.world.size > 1 and not plan.training.dataloader_drop_last else 1
    sequences = training_sequences(splits.train, config.data, multiple=multiple)
    held_out = held_out_sequences(splits, config.data)
    set_seed(plan.training.seed)
    is_cpu = plan.hardware.kind == "cpu"
    model = build_model(config, plan.precision, plan.attention, fused=is_cpu and config.model.fused_layers)
    training, layers = _faster_layers(model, config, plan)
    schedule = plan_steps(training, len(sequences), plan.world.size)
    if text := check_warmup(training, schedule.steps):
        note(f"warning: {text}")
    arguments = training_arguments(
        training,
        schedule,
        plan.precision,
        plan.hardware,
        has_eval=held_out is not None,
        in_order=config.data.curriculum_sampling,
        others=plan.arguments,
    )
    check_world(arguments.world_size, plan.world)
    if "fsdp" in plan.arguments:
        fit_fsdp(arguments, model)
    _print_decisions(
        *plan.decisions,
        *layers,
        Decision("trained", _parameters(model), f"adapter: {config.adapter.adapter or 'none, all weights'}"),
        Decision("steps", str(schedule.steps), _steps_reason(schedule, sequences, config.data)),
    )
    make_trainer: Callable[..., TokenMeanTrainer] = TokenMeanTrainer
    if plan.objective.loss:
        batches = accumulation(training) * plan.world.size
        for text in find_preference_warnings(plan.objective, config.preference, splits.train, batches):
            note(f"warning: {text}")
        make_trainer = partial(PreferenceTrainer, objective=plan.objective, section=config.preference)
    return make_trainer(
        model=model,
        args=arguments,
        train_dataset=sequences,
        eval_dataset=held_out,
        data_collator=FlatCollator(plan.attention == DOCUMENTS, keep_logits=takes_logits_to_keep(model)),
        processing_class=tokenizer,
        callbacks=model_callbacks(config, model),
        training=training,
        answers=answers_during_training(config, splits, tokenizer, plan.attention, record, is_main=plan.world.is_main),
        autocast=plan.precision.autocast,
        own_loss=is_cpu and not plan.objective.loss,
    )


def _faster_layers(model: "CausalLM", config: Config, plan: Plan) -> tuple[TrainingSection, list[Decision]]:
    """Put faster layers into the model, and return the section without what they make needless, and what was done."""
    training, decisions = plan.training, [fuse_layers(model, config.model, plan.hardware)]
    if config.model.fused_layers and not plan.objective.loss:
        tokens = max(PIECE, config.data.sequence_len)
        training, spared = spare_checkpointing(model, training, tokens, plan.hardware)
        decisions += spared
    return training, decisions


def _checked_splits(config: Config, tokenizer: Tokenizer, world: World) -> Splits:
    """Look at the data, prepare it, and say what became of it."""
    quick_checks(config, tokenizer, model_folder=local_base_model(config.model.base_model))
    splits = prepare_splits(config, tokenizer, world_size=world.size)
    note("\n".join(describe(splits.parts)))
    return splits


def _set_callbacks(
    trainer: TokenMeanTrainer, training: TrainingSection, record: RunRecord, stop: CleanStop, world: World
) -> None:
    """Put our lines and record in place of transformers' own."""
    trainer.remove_callback(PrinterCallback)
    trainer.remove_callback(ProgressCallback)
    trainer.add_callback(stop)
    trainer.add_callback(LogLastStep(early_stopping=bool(training.early_stopping_patience)))
    trainer.add_callback(LossWatch(training.loss_watchdog_threshold, training.loss_watchdog_patience))
    if world.is_main:
        trainer.add_callback(Reporter(record))
        if not (trainer.is_fsdp_enabled or trainer.is_deepspeed_enabled):  # a process has a part of each weight
            trainer.add_callback(TrainedNothing())
    for callback in asked_for(training, world):
        trainer.add_callback(callback)


def _parameters(model: torch.nn.Module) -> str:
    trained = sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)
    total = sum(parameter.numel() for parameter in model.parameters())
    return f"{trained:,} of {total:,} weights"


def _checkpoint_bytes(model: torch.nn.Module) -> int:
    """Trained weights and AdamW's two states."""
    return 3 * sum(int(p.numel()) * int(p.element_size()) for p in model.parameters() if p.requires_grad)


def _steps_reason(schedule: Schedule, sequences: Sequences, data: DataSection) -> str:
    if not data.sample_packing:
        return f"{sequences.num_rows:,} samples, {schedule.sequences} a step"
    full = 100 * sequences.tokens / (sequences.num_rows * data.sequence_len)
    return (
        f"{sequences.num_rows:,} sequences of {data.sequence_len} tokens, {full:.0f}% full, {schedule.sequences} a step"
    )


def _print_decisions(*decisions: Decision) -> None:
    width = max(len(item.key) for item in decisions)
    for item in decisions:
        note(f"{item.key:<{width}}  {item.value}  ({item.reason})")


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
    output, values = record.folder.parent, without_secrets(config.values)
    prepared = [part.folder.name for part in splits.parts]
    if checkpoint is None:
        if overwrite and (aside := move_aside(output)):
            note(f"the run that was in {output} is now in {aside}")
        output.mkdir(parents=True, exist_ok=True)
    else:
        _check_checkpoint(checkpoint, record, prepared, values)
        record.forget_after(step_of(checkpoint))
        note(f"going on from {checkpoint}")
    for name in remove_broken(output):
        note(f"removed {name}, which was not saved to the end")
    record.start(values, {"source": config.source, "prepared": prepared, "rows": len(splits.train)})
    save_manifest(prompts, record.folder)


def _check_checkpoint(checkpoint: Path, record: RunRecord, prepared: list[str], values: dict[str, Any]) -> None:
    """Compare a run with the one that saved the checkpoint.

    Raises:
        RunError: it was saved by a run on other data, or the output folder has a run on other data.
    """
    before = read_prepared(checkpoint)
    if before is None:
        note(f"warning: {checkpoint} does not say which rows it was trained on; resume from it with the same rows only")
    elif before != prepared:
        raise RunError(
            f"the data is not what the run of {checkpoint} began with, so that it cannot go on exactly; undo the "
            "change, or start anew with --overwrite"
        )
    if record.about().get("prepared", prepared) != prepared:
        raise RunError(f"the data is not what the run in {record.folder.parent} began with; set another --output-dir")
    origin = RunRecord(checkpoint.resolve().parent / "run")
    config_file = next((item.config_file for item in (origin, record) if item.config_file.exists()), None)
    for change in changed_settings(yaml.safe_load(config_file.read_text()), values) if config_file else []:
        note(f"warning: resuming with another setting: {change}")


def _finish(trainer: TokenMeanTrainer, record: RunRecord, world: World, *, interrupted: bool) -> Outcome:
    """Save the result and close the record."""
    state = trainer.state
    output = record.folder.parent
    finished = not interrupted or state.global_step >= state.max_steps
    trainer.args.push_to_hub = False  # the last push is that of the whole record
    if finished:
        save_whole(trainer, output)
    if world.is_main:
        record.update({"status": "finished" if finished else "interrupted", "step": state.global_step})
        plot = record.plot()
        if finished:
            curve = f", loss curve in {plot}" if plot else ""
            note(f"done: weights in {output}, record in {output / 'run'}{curve}")
        elif checkpoints := whole_checkpoints(output):
            progress = f"stopped at step {state.global_step} of {state.max_steps}"
            note(f"{progress}; saved {checkpoints[-1]}. Go on with the same command and --resume")
    return Outcome(finished, state.global_step, record.metrics())
