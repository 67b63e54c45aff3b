"""What happens beside the steps: a line and a record of each logged step, a clean stop, a watch on the loss, ..."""

import gc
import math
import resource
import signal
import sys
import time
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from tqdm import tqdm
from transformers import EarlyStoppingCallback, TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunesmith.errors import RunError
from tunesmith.files import write_json
from tunesmith.log import note
from tunesmith.sections import TrainingSection
from tunesmith.training.record.checkpoints import DATA_FILE
from tunesmith.training.record.run_record import RunRecord
from tunesmith.world import World


class Reporter(TrainerCallback):
    """Prints and records a line each logged step, and shows the bar; only on the first process."""

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        self.bar: tqdm[Any] | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object
    ) -> None:
        """Start the clock and the bar."""
        self.record.update({"steps": state.max_steps})
        self.started = self.last_time = self.step_ended = time.monotonic()
        self.first_step = state.global_step
        self.last_tokens = state.num_input_tokens_seen
        self.bar = tqdm(
            total=state.max_steps, initial=state.global_step, desc="training", unit=" step", disable=None, leave=False
        )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Advance the bar."""
        self.step_ended = time.monotonic()
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

    def on_save(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Write into the checkpoint which data it is of, so that no run on other rows resumes from it."""
        checkpoint = Path(str(args.output_dir)) / f"checkpoint-{state.global_step}"
        if checkpoint.is_dir():
            write_json(checkpoint / DATA_FILE, {"prepared": self.record.about().get("prepared")})

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Print the line of a step or of an evaluation."""
        logs = logs or {}
        if "loss" in logs:
            self._step(state, logs)
        elif "eval_loss" in logs:
            self.record.add_metrics({"step": state.global_step, **logs})
            perplexity = f"  perplexity {logs['eval_perplexity']:.3f}" if "eval_perplexity" in logs else ""
            self._print(
                f"step {state.global_step:>{len(str(state.max_steps))}}/{state.max_steps}  eval loss "
                f"{logs['eval_loss']:.4f}{perplexity}{_rewards(logs, 'eval_')}{_by_set(logs)}{_scores(logs)}"
            )
            # Evaluating is not part of the training speed.
            self.last_time += time.monotonic() - max(self.step_ended, self.last_time)

    def on_train_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()

    def _step(self, state: TrainerState, logs: dict[str, float]) -> None:
        now = time.monotonic()
        tokens = state.num_input_tokens_seen - self.last_tokens
        speed = tokens / max(now - self.last_time, 1e-9)
        done = state.global_step - self.first_step
        seconds_left = (now - self.started) / max(done, 1) * (state.max_steps - state.global_step)
        self.last_time, self.last_tokens = now, state.num_input_tokens_seen
        # Trackers come after this and get what is left and what is added here.
        for key in ("num_input_tokens_seen", "train_runtime", "train_tokens_per_second"):
            logs.pop(key, None)
        logs |= {
            "tokens": state.num_input_tokens_seen,
            "tokens_per_second": round(speed, 1),
            "peak_memory": peak_memory(),
        }
        self.record.add_metrics({"step": state.global_step, **logs})
        self._print(
            f"step {state.global_step:>{len(str(state.max_steps))}}/{state.max_steps}  loss {logs['loss']:.4f}"
            f"{_rewards(logs)}  lr {logs.get('learning_rate', 0):.2e}  {speed:,.0f} tokens/s  "
            f"{peak_memory() / 2**30:.1f} GiB  {duration(seconds_left)} left"
        )

    def _print(self, line: str) -> None:
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()


def _by_set(logs: dict[str, float]) -> str:
    """The losses of several evaluation sets, by name."""
    names = [key for key in logs if key.startswith("eval_") and key.endswith("_loss") and key != "eval_loss"]
    return "".join(f"  {key[len('eval_') : -len('_loss')]} {logs[key]:.4f}" for key in names)


def _scores(logs: dict[str, float]) -> str:
    """What answers to held-out prompts are worth."""
    names = [name for name in ("sacrebleu", "chrf", "ter") if f"eval_{name}" in logs]
    passed = f"  pass rate {logs['eval_pass_rate']:.0%}" if "eval_pass_rate" in logs else ""
    return passed + "".join(f"  {name} {logs[f'eval_{name}']:.1f}" for name in names)


def _rewards(logs: dict[str, float], prefix: str = "") -> str:
    """What training on preferences measures besides the loss."""
    names = [name for name in ("reward_accuracy", "reward_margin") if prefix + name in logs]
    return "".join(f"  {name.replace('_', ' ')} {logs[prefix + name]:.3f}" for name in names)


def peak_memory() -> int:
    """Return the most bytes used so far: of the GPU if there is one, else of this process."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated()
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit


def duration(seconds: float) -> str:
    """Return a time as m:ss, or h:mm:ss."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _in_any_process(flag: bool, args: TrainingArguments) -> bool:
    """Return whether a flag is set in at least one process; all must ask at the same step."""
    if args.world_size == 1:
        return flag
    shared = torch.tensor(int(flag), device=args.device)
    torch.distributed.all_reduce(shared, op=torch.distributed.ReduceOp.MAX)
    return bool(shared.item())


class CleanStop(TrainerCallback):
    """Turns Ctrl-C and SIGTERM into a checkpoint at the end of the step; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.requested = False

    def on_signal(self, number: int, frame: FrameType | None) -> None:
        """Note the request; see `handle_stop_signals`."""
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.requested:
            print("\nstopping: saving a checkpoint after this step (Ctrl-C again stops at once)", file=sys.stderr)
        self.requested = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Save and stop if a signal came to any process; all must stop at the same step."""
        self.requested = _in_any_process(self.requested, args)
        if self.requested and state.global_step < state.max_steps:
            control.should_save = True
            control.should_training_stop = True
            control.should_evaluate = False

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Do not evaluate: transformers ends the epoch where the run is stopped, but the run that goes on does not."""
        if self.requested and state.global_step < state.max_steps:
            control.should_evaluate = False


class LogLastStep(TrainerCallback):
    """Logs the step with which training ends, also if `logging_steps` leaves it out.

    Early stopping may end it at any evaluation, after the step was to be logged, so each of these steps is logged.
    """

    def __init__(self, *, early_stopping: bool) -> None:
        self.early_stopping = early_stopping

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Log if this may be the last step."""
        ends = control.should_training_stop or state.global_step >= state.max_steps
        if ends or (self.early_stopping and control.should_evaluate):
            control.should_log = True

    def on_epoch_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Log if this may be the last epoch; a step is not logged twice."""
        self.on_step_end(args, state, control)


class LossWatch(TrainerCallback):
    """Ends a run whose loss is no number, or stays above a threshold."""

    def __init__(self, threshold: float | None, patience: int | None) -> None:
        self.threshold = threshold
        self.patience = patience or 3
        self.broken = 0

    def on_log(
        self,
        args: TrainingArguments,
        state: TrainerState,
        control: TrainerControl,
        logs: dict[str, float] | None = None,
        **kwargs: Any,
    ) -> None:
        """Look at the loss that was just logged."""
        loss = (logs or {}).get("loss")
        if loss is None:
            return
        if not math.isfinite(loss):
            raise RunError(
                f"the loss at step {state.global_step} is {loss}; lower `learning_rate` ({args.learning_rate})"
            )
        if self.threshold is not None:
            self.broken = self.broken + 1 if loss > self.threshold else 0
            if self.broken >= self.patience:
                raise RunError(
                    f"the loss was above loss_watchdog_threshold {self.threshold} {self.broken} times in a row "
                    f"(now {loss:.3f} at step {state.global_step}); look at the data, or lower `learning_rate`"
                )


class EarlyStopping(EarlyStoppingCallback):
    """transformers' early stopping; a resumed run also counts the evaluations before its checkpoint."""

    def on_train_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: Any) -> None:
        """Read the count that the checkpoint has."""
        super().on_train_begin(args, state, control)  # type: ignore[no-untyped-call]
        callbacks: Any = state.stateful_callbacks
        if saved := callbacks.get(type(self).__name__):
            self.early_stopping_patience_counter = saved["attributes"]["early_stopping_patience_counter"]


class TrainedNothing(TrainerCallback):
    """Warns at the end of a run that changed nothing."""

    def __init__(self) -> None:
        self.first_step = 0
        self.sums: dict[str, tuple[float, float]] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Note where the run begins; a checkpoint has been loaded."""
        self.first_step = state.global_step
        self.sums = _sums_of_weights(kwargs["model"])

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Compare the weights with those of the beginning."""
        steps = state.global_step - self.first_step
        sums = _sums_of_weights(kwargs["model"])
        adapter = [values for name, values in sums.items() if "lora_B" in name or "lora_embedding_B" in name]
        if not steps:
            note(f"warning: no step was left to train: the checkpoint is of step {self.first_step}")
        elif sums == self.sums:
            note(f"warning: {steps} steps changed no weight; is `learning_rate: {args.learning_rate}` too low?")
        elif adapter and not any(norm for _, norm in adapter):
            note(f"warning: all of lora_B is zero after {steps} steps: the adapter changes nothing")


def _sums_of_weights(model: torch.nn.Module) -> dict[str, tuple[float, float]]:
    """Return the sum and the norm of each trained weight."""
    sums = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            values = weight.detach()
            dtype = torch.float32 if values.device.type == "mps" else torch.float64
            sums[name] = values.sum(dtype=dtype), torch.linalg.vector_norm(values, dtype=dtype)
    return {name: (float(total), float(norm)) for name, (total, norm) in sums.items()}


def asked_for(training: TrainingSection, world: World) -> list[TrainerCallback]:
    """Return the callbacks that only some configs ask for."""
    output, dynamic = Path(training.output_dir), training.dynamic_checkpoint
    callbacks: list[TrainerCallback] = []
    if training.save_first_step or (dynamic and dynamic.enabled):
        trigger = output / dynamic.trigger_file_path if dynamic and dynamic.enabled else None
        callbacks.append(ExtraSaves(training.save_first_step, trigger, dynamic.check_interval if dynamic else 1))
    if training.profiler_steps and world.is_main:
        file = output / "profiler_trace.json"
        callbacks.append(Profile(file, training.profiler_steps_start, training.profiler_steps))
    if training.gc_collect_steps:
        callbacks.append(Collect(training.gc_collect_steps))
    if training.early_stopping_patience:
        callbacks.append(EarlyStopping(training.early_stopping_patience))
    return callbacks


class ExtraSaves(TrainerCallback):
    """Saves a checkpoint after the first step, or whenever somebody makes a file, which is then removed."""

    def __init__(self, first: bool, trigger: Path | None, interval: int) -> None:
        self.first, self.trigger, self.interval = first, trigger, interval

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Save if it is time to."""
        if self.first and state.global_step == 1:
            control.should_save = True
        due = self.trigger is not None and state.global_step % self.interval == 0
        if self.trigger and due and _in_any_process(self.trigger.exists(), args):
            control.should_save = True
            self.trigger.unlink(missing_ok=True)


class Profile(TrainerCallback):
    """Writes a trace of some steps, for chrome://tracing or ui.perfetto.dev."""

    def __init__(self, file: Path, start: int, steps: int) -> None:
        self.file, self.start, self.end = file, start, start + steps
        self.profiler: torch.profiler.profile | None = None

    def on_step_begin(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Begin with the first of the steps, which are counted from 0."""
        if state.global_step == self.start:
            self.profiler = torch.profiler.profile(record_shapes=True, profile_memory=True)
            self.profiler.start()

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Write the trace after the last of the steps."""
        if self.profiler and state.global_step in (self.end, state.max_steps):
            self.profiler.stop()
            self.profiler.export_chrome_trace(str(self.file))
            self.profiler = None


class Collect(TrainerCallback):
    """Frees what Python no longer uses each so many steps."""

    def __init__(self, steps: int) -> None:
        self.steps = steps

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **_: object) -> None:
        """Collect if it is time to."""
        if state.global_step % self.steps == 0:
            gc.collect()
