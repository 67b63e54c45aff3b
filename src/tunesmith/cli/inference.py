"""`tunesmith inference`: ask the model, with the prompt that was trained."""

import argparse
import json
import sys
from contextlib import ExitStack
from typing import Any

from tunesmith.cli.arguments import entry, parser, quick_imports, read_config
from tunesmith.errors import FAILED, ConfigError

SUMMARY = "Ask the tuned model: a chat in the terminal, one prompt, a file of prompts, or a page in the browser."
EXAMPLES = """  tunesmith inference outputs/honeycomb-lora
  tunesmith inference lora.yml --lora-model-dir outputs/honeycomb-lora --prompt "How many errors?"
  tunesmith inference outputs/honeycomb-lora --prompt-file eval.jsonl --compare > answers.jsonl
  echo "Hello" | tunesmith inference outputs/honeycomb-lora
  tunesmith inference outputs/honeycomb-lora --prompt-file eval.jsonl --heal 2 > answers.jsonl
  tunesmith inference outputs/honeycomb-lora --gradio --compare"""


def inference(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    given, overrides = _options().parse_known_args(arguments)
    _check(given)
    row = _row(given)
    config = read_config(given.file, overrides)
    section = config.evaluation.evaluation
    if given.heal and not section.assertions:
        raise ConfigError(f"--heal {given.heal} needs assertions: set `evaluation.assertions` to their file")

    from tunesmith.assertions import jury

    with quick_imports():
        from tunesmith.generation.ask import Healing, answer_file, ask, ask_healing, chat, make_asker, print_answers
    from tunesmith.modeling.generate import Sampling

    sampling = Sampling(
        max_new_tokens=given.max_new_tokens,
        temperature=given.temperature,
        top_p=given.top_p,
        top_k=given.top_k,
        repetition_penalty=given.repetition_penalty,
        seed=config.training.seed,
    )
    with ExitStack() as stack:
        healing = None
        if given.heal:
            judge = stack.enter_context(jury(section.assertions or "", config.source, section.assertion_seconds))
            healing = Healing(judge, given.heal)
        asker = make_asker(config, tuned=not given.base, base=given.compare or given.base, system=given.system)
        if given.gradio:
            from tunesmith.generation.page import build_page, serve

            title = f"{config.training.output_dir} on {config.model.base_model}"
            serve(build_page(asker, title=title, sampling=sampling), port=given.port, share=given.share)
        elif given.prompt_file:
            print_answers(answer_file(asker, given.prompt_file, sampling, section.batch_size, healing))
        elif given.prompt is not None or not sys.stdin.isatty():
            text = given.prompt if given.prompt is not None else sys.stdin.read().rstrip("\n")
            if not text.strip():
                raise ConfigError("the prompt is empty; give --prompt TEXT, or text on standard input")
            if healing:
                return 0 if ask_healing(asker, text, row, sampling, healing) else FAILED
            ask(asker, text, sampling)
        else:
            import readline  # noqa: F401  (gives input() history and line editing)

            chat(asker, sampling)
    return 0


def _check(given: argparse.Namespace) -> None:
    """Raise a ConfigError for options that exclude each other, or are out of their range."""
    if given.compare and given.base:
        raise ConfigError("--compare and --base: keep one")
    if given.prompt is not None and given.prompt_file:
        raise ConfigError("--prompt and --prompt-file: keep one")
    if given.temperature < 0 or given.max_new_tokens < 1 or not 0 < given.top_p <= 1 or given.repetition_penalty <= 0:
        raise ConfigError("--temperature must be 0 or more, --max-new-tokens 1 or more, --top-p in (0, 1]")


def _row(given: argparse.Namespace) -> dict[str, Any]:
    """Check the options of healing, and return the columns that assertions may take besides the prompt."""
    if given.heal is None:
        if given.row:
            raise ConfigError("--row is for --heal, whose assertions may take its columns")
        return {}
    if given.heal < 1:
        raise ConfigError(f"--heal {given.heal}: expected how often to ask again, 1 or more")
    if given.gradio or (given.prompt is None and not given.prompt_file and sys.stdin.isatty()):
        raise ConfigError("--heal goes with --prompt, --prompt-file, or a prompt on standard input")
    if given.row and given.prompt_file:
        raise ConfigError("--row is for one prompt; the assertions take the columns of the rows of --prompt-file")
    try:
        row = json.loads(given.row or "{}")
    except json.JSONDecodeError as error:
        raise ConfigError(f"--row: not JSON: {error}") from None
    if not isinstance(row, dict):
        raise ConfigError('--row: expected an object of columns, such as \'{"columns": ["error"]}\'')
    return row


def _options() -> argparse.ArgumentParser:
    options = parser("inference", SUMMARY, EXAMPLES)
    options.add_argument("file", metavar="FILE_OR_FOLDER", help="YAML file, or the folder of a run")
    options.add_argument("--prompt", metavar="TEXT", help="one prompt; the answer is printed")
    options.add_argument("--prompt-file", metavar="FILE", help="rows of the dataset's type, or a prompt a line")
    options.add_argument("--compare", action="store_true", help="base and tuned model side by side")
    options.add_argument("--base", action="store_true", help="the base model only")
    options.add_argument("--system", metavar="TEXT", help="system turn (default: the one that the rows share)")
    options.add_argument("--heal", type=int, metavar="N", help="ask again, up to N times, with what assertions say")
    options.add_argument("--row", metavar="JSON", help="columns for the assertions of --heal, besides `prompt`")
    options.add_argument("--max-new-tokens", type=int, metavar="N", default=512, help="longest answer (default 512)")
    options.add_argument("--temperature", type=float, metavar="T", default=0.0, help="0, the default, is the likeliest")
    options.add_argument("--top-p", type=float, metavar="P", default=1.0, help="sample from this share of likelihood")
    options.add_argument("--top-k", type=int, metavar="K", default=0, help="sample from the K likeliest tokens")
    options.add_argument("--repetition-penalty", type=float, metavar="R", default=1.0, help="above 1 repeats less")
    options.add_argument("--gradio", action="store_true", help="open a page on 127.0.0.1")
    options.add_argument("--port", type=int, help="port of the page (default: the first free one from 7860)")
    options.add_argument("--share", action="store_true", help="make the page public through gradio's tunnel")
    return options


main = entry(inference)


if __name__ == "__main__":
    sys.exit(main())
