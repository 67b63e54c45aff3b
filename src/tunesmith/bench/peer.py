"""One run of TRL's SFTTrainer in a process of its own: it reads `work.json`, and writes a line of metrics a step."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class Lines(TrainerCallback):
    """Writes a line each step, as a run of Tunesmith does."""

    def __init__(self, file: Path) -> None:
        self.file = file

    def on_log(
        self, args: TrainingArguments, state: TrainerState, control: TrainerControl, logs: Any = None, **kwargs: Any
    ) -> None:
        """Write the loss of a step and the tokens so far."""
        if "loss" in (logs or {}):
            line = {"step": state.global_step, "loss": logs["loss"], "tokens": int(logs["num_tokens"])}
            with self.file.open("a") as lines:
                lines.write(json.dumps(line) + "\n")


def train(folder: Path, work: dict[str, Any]) -> None:
    """Train the rows with the settings of `work`, and leave all others at TRL's defaults."""
    from datasets import load_dataset
    from peft import LoraConfig
    from trl import SFTConfig, SFTTrainer

    rows = load_dataset("json", data_files=work["rows"], split="train", cache_dir=str(folder / "cache"))
    shared = {
        "output_dir": str(folder / "out"),
        "use_cpu": work["cpu"],
        "per_device_train_batch_size": work["micro_batch_size"],
        "num_train_epochs": work["num_epochs"],
        "max_length": work["sequence_len"],
        "learning_rate": work["learning_rate"],
        "train_sampling_strategy": "sequential",
        "logging_steps": 1,
        "save_strategy": "no",
        "report_to": "none",
        "disable_tqdm": True,
        "seed": work["seed"],
    }
    arguments = SFTConfig(**shared | work["settings"])
    adapter = LoraConfig(task_type="CAUSAL_LM", **work["lora"])
    trainer = SFTTrainer(work["model"], arguments, train_dataset=rows, peft_config=adapter)
    trainer.add_callback(Lines(folder / "metrics.jsonl"))
    trainer.train()


def prepare(work: dict[str, Any]) -> None:
    """Make rows of prompt and completion into tokens and labels, as TRL does before it trains, on all cores."""
    from datasets import load_dataset
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    rows = load_dataset("json", data_files=work["rows"], split="train", cache_dir=work["cache"])
    settings = AutoConfig.from_pretrained(work["model"])
    settings.num_hidden_layers = 1  # no weights are needed for this
    arguments = SFTConfig(output_dir=work["cache"], use_cpu=True, dataset_num_proc=os.cpu_count(), disable_tqdm=True)
    tokenizer = AutoTokenizer.from_pretrained(work["model"])
    SFTTrainer(AutoModelForCausalLM.from_config(settings), arguments, train_dataset=rows, processing_class=tokenizer)


if __name__ == "__main__":
    place = Path(sys.argv[1])
    asked = json.loads((place / "work.json").read_text())
    prepare(asked) if "cache" in asked else train(place, asked)
