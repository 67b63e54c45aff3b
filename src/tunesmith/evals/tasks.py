"""Tasks of lm-eval, an optional package, with the model variants of a config."""

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from tunesmith.errors import ConfigError
from tunesmith.files import write_json
from tunesmith.generation.served import check_local
from tunesmith.generation.variants import load_variants
from tunesmith.hardware import detect
from tunesmith.log import note
from tunesmith.modeling.tokenizer import model_tokenizer
from tunesmith.sections import Config
from tunesmith.training.sweep import table


def run_tasks(config: Config, names: Sequence[str], *, base: bool, tuned: bool) -> str:
    """Return a table of lm-eval's metrics on tasks (names, groups, or YAML files); tasks.json has all results.

    Raises:
        ConfigError: lm-eval is not installed or does not have a task; or the answers come from a server.
    """
    if not find_spec("lm_eval"):
        raise ConfigError("--tasks needs lm-eval: pip install 'tunesmith[lm-eval]'")
    from lm_eval import simple_evaluate
    from lm_eval.models.huggingface import HFLM

    section = config.evaluation.evaluation
    check_local(section, "--tasks")
    tokenizer = model_tokenizer(config.model)
    results: dict[str, dict[str, dict[str, Any]]] = {}
    for variant in load_variants(config, detect(), base=base, tuned=tuned):
        model = HFLM(pretrained=variant.model, tokenizer=tokenizer, batch_size=section.batch_size)
        try:
            with variant.activate():
                evaluation = simple_evaluate(model=model, tasks=list(names), limit=section.max_rows)
        except (KeyError, ValueError, OSError) as error:  # no such task, or its data could not be downloaded
            raise ConfigError(f"--tasks {','.join(names)}: lm-eval says: {error}") from error
        results[variant.name] = evaluation["results"]
    file = Path(config.training.output_dir) / "evaluation/tasks.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    write_json(file, results)
    note(f"all results: {file}")
    return table(_table_rows(results))


def _table_rows(results: dict[str, dict[str, dict[str, Any]]]) -> list[dict[str, Any]]:
    """Return a row for each metric of each task, with a column for each variant and its standard error."""
    rows: dict[tuple[str, str], dict[str, Any]] = {}
    for variant, tasks in results.items():
        for task, values in tasks.items():
            for metric, value in values.items():
                if isinstance(value, float) and "stderr" not in metric:
                    name, _, kind = metric.partition(",")
                    error = values.get(f"{name}_stderr,{kind}")
                    text = f"{value:.4f}" + (f" ± {error:.4f}" if isinstance(error, float) else "")
                    rows.setdefault((task, name), {"task": task, "metric": metric})[variant] = text
    return list(rows.values())
