"""Tasks of lm-eval by name, with the models of a config; lm-eval is an optional package."""

import json
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tunesmith.errors import ConfigError
from tunesmith.generation.served import check_here
from tunesmith.generation.variants import load_variants
from tunesmith.hardware import detect
from tunesmith.log import note
from tunesmith.modeling.tokenizer import model_tokenizer
from tunesmith.sections import Config
from tunesmith.training.sweep import table


def run_tasks(config: Config, names: Sequence[str], *, base: bool, tuned: bool) -> str:
    """Return a table of what lm-eval measures on tasks (names, groups, or YAML files); all of it is in tasks.json.

    Raises:
        ConfigError: lm-eval is not installed, or does not know a task; or a server is to answer.
    """
    if not find_spec("lm_eval"):
        raise ConfigError("--tasks needs lm-eval: pip install 'tunesmith[lm-eval]'")
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    check_here(config, "--tasks")
    tokenizer, section = model_tokenizer(config.model), config.evaluation.evaluation
    measured: dict[str, dict[str, dict[str, Any]]] = {}
    for variant in load_variants(config, detect(), base=base, tuned=tuned):
        model = HFLM(pretrained=variant.model, tokenizer=tokenizer, batch_size=section.batch_size)
        try:
            with variant.activate():
                found = simple_evaluate(model=model, tasks=list(names), limit=section.max_rows)
        except (KeyError, ValueError, OSError) as error:  # no such task, or its data can't be fetched
            raise ConfigError(f"--tasks {','.join(names)}: lm-eval says: {error}") from error
        measured[variant.name] = found["results"]
    file = Path(config.training.output_dir) / "evaluation/tasks.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(measured, indent=1, default=str))
    note(f"all of it: {file}")
    return table(_rows(measured))


def _rows(measured: dict[str, dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """A row for each metric of each task, with a column for each variant and its standard error."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for variant, results in measured.items():
        for task, values in results.items():
            for metric, value in values.items():
                if isinstance(value, float) and "stderr" not in metric:
                    name, _, kind = metric.partition(",")
                    error = values.get(f"{name}_stderr,{kind}")
                    text = f"{value:.4f}" + (f" ± {error:.4f}" if isinstance(error, float) else "")
                    rows.setdefault((task, name), {"task": task, "metric": metric})[variant] = text
    return list(rows.values())
