"""One run of TRL's SFTTrainer in its own process: reads `work.json`, and writes a line of metrics each step."""

import json
import os
import sys
from pathlib import Path
from typing import Any

from transformers import TrainerCallback, TrainerControl, TrainerState, TrainingArguments


class MetricsWriter(TrainerCallback):
    """Writes a line each step, in the format of a Tunesmith run."""

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
    """Train on the rows with the settings of `work`; all others are TRL's defaults."""
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
    trainer.add_callback(MetricsWriter(folder / "metrics.jsonl"))
    trainer.train()


def prepare(work: dict[str, Any]) -> None:
    """Tokenize rows of prompt and completion as TRL does before training, on all cores."""
    from datasets import load_dataset
    from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer
    from trl import SFTConfig, SFTTrainer

    rows = load_dataset("json", data_files=work["rows"], split="train", cache_dir=work["cache"])
    settings = AutoConfig.from_pretrained(work["model"])
    settings.num_hidden_layers = 1  # weights are not needed
    arguments = SFTConfig(output_dir=work["cache"], use_cpu=True, dataset_num_proc=os.cpu_count(), disable_tqdm=True)
    tokenizer = AutoTokenizer.from_pretrained(work["model"])
    SFTTrainer(AutoModelForCausalLM.from_config(settings), arguments, train_dataset=rows, processing_class=tokenizer)


if __name__ == "__main__":
    work_folder = Path(sys.argv[1])
    work = json.loads((work_folder / "work.json").read_text())
    if "cache" in work:
        prepare(work)
    else:
        train(work_folder, work)
