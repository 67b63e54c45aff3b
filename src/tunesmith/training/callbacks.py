"""What happens beside the steps: a line and a record of each logged step, a clean stop, a watch on the loss."""

import math
import resource
import signal
import sys
import time
from types import FrameType
from typing import Any

import torch
from tqdm import tqdm
from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments

from tunesmith.errors import RunError
from tunesmith.training.record import RunRecord


class Reporter(TrainerCallback):
    """Prints and records a line each logged step, and shows the bar; only on the first process."""

    def __init__(self, record: RunRecord) -> None:
        self.record = record
        self.bar: tqdm[Any] | None = None

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Start the clock and the bar."""
        self.begun = self.last_time = time.monotonic()
        self.first_step = state.global_step
        self.last_tokens = state.num_input_tokens_seen
        self.bar = tqdm(
            total=state.max_steps, initial=state.global_step, desc="training", unit=" step", disable=None, leave=False
        )

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Advance the bar."""
        if self.bar is not None:
            self.bar.update(state.global_step - self.bar.n)

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
            entry = {"step": state.global_step, "epoch": state.epoch, **_without_prefix(logs)}
            self.record.add_metrics(entry)
            self._print(
                f"step {state.global_step:>{len(str(state.max_steps))}}/{state.max_steps}  held-out loss "
                f"{logs['eval_loss']:.4f}  perplexity {logs['eval_perplexity']:.3f}"
            )
            # Evaluating is not part of the training speed.
            self.last_time = time.monotonic()

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take the bar away."""
        if self.bar is not None:
            self.bar.close()

    def _step(self, state: TrainerState, logs: dict[str, float]) -> None:
        now = time.monotonic()
        tokens = state.num_input_tokens_seen - self.last_tokens
        speed = tokens / max(now - self.last_time, 1e-9)
        done = state.global_step - self.first_step
        left = (now - self.begun) / max(done, 1) * (state.max_steps - state.global_step)
        self.last_time, self.last_tokens = now, state.num_input_tokens_seen
        entry = {
            "step": state.global_step,
            "epoch": state.epoch,
            "loss": logs["loss"],
            "learning_rate": logs.get("learning_rate"),
            "grad_norm": logs.get("grad_norm"),
            "tokens": state.num_input_tokens_seen,
            "tokens_per_second": round(speed, 1),
            "peak_memory": peak_memory(),
        }
        self.record.add_metrics(entry)
        self._print(
            f"step {state.global_step:>{len(str(state.max_steps))}}/{state.max_steps}  loss {logs['loss']:.4f}  "
            f"lr {logs.get('learning_rate', 0):.2e}  {speed:,.0f} tokens/s  {peak_memory() / 2**30:.1f} GiB  "
            f"{duration(left)} left"
        )

    def _print(self, line: str) -> None:
        tqdm.write(line, file=sys.stdout)
        sys.stdout.flush()


def _without_prefix(logs: dict[str, float]) -> dict[str, float]:
    return {key: value for key, value in logs.items() if key.startswith("eval_")}


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


class CleanStop(TrainerCallback):
    """Turns Ctrl-C and SIGTERM into a checkpoint at the end of the step; a second Ctrl-C stops at once."""

    def __init__(self) -> None:
        self.requested = False
        self.before: dict[int, Any] = {}

    def on_train_begin(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Take the signals."""
        self.before = {number: signal.signal(number, self._on_signal) for number in (signal.SIGINT, signal.SIGTERM)}

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        if self.requested and number == signal.SIGINT:
            raise KeyboardInterrupt
        if not self.requested:
            print("\nstopping: saving a checkpoint after this step (Ctrl-C again stops at once)", file=sys.stderr)
        self.requested = True

    def on_step_end(self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any) -> None:
        """Save and stop if a signal came to any process; all must stop at the same step."""
        if args.world_size > 1:
            flag = torch.tensor(int(self.requested), device=args.device)
            torch.distributed.all_reduce(flag, op=torch.distributed.ReduceOp.MAX)
            self.requested = bool(flag.item())
        if self.requested and state.global_step < state.max_steps:
            control.should_save = True
            control.should_training_stop = True
            control.should_evaluate = False

    def on_train_end(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, **kwargs: Any
    ) -> None:
        """Give the signals back."""
        for number, handler in self.before.items():
            signal.signal(number, handler)


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
