"""`tunesmith inference`: generate answers from the trained prompt."""

import argparse
import json
import sys
from contextlib import ExitStack
from typing import TYPE_CHECKING, Any

from tunesmith.cli.arguments import entry, parser, quick_imports, read_config
from tunesmith.errors import FAILED, ConfigError
from tunesmith.sections import Config

if TYPE_CHECKING:
    from tunesmith.generation.session import GenerationSession, RetryOptions

SUMMARY = "Prompt the tuned model: a chat in the terminal, one prompt, a file of prompts, or a page in the browser."
EXAMPLES = """  tunesmith inference outputs/honeycomb-lora
  tunesmith inference lora.yml --lora-model-dir outputs/honeycomb-lora --prompt "How many errors?"
  tunesmith inference outputs/honeycomb-lora --prompt-file eval.jsonl --compare > answers.jsonl
  echo "Hello" | tunesmith inference outputs/honeycomb-lora
  tunesmith inference outputs/honeycomb-lora --prompt-file eval.jsonl --heal 2 > answers.jsonl
  tunesmith inference outputs/honeycomb-lora --gradio --compare"""


def inference(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    args, overrides = _options().parse_known_args(arguments)
    _check(args)
    row = _read_row(args)
    config = read_config(args.file, overrides)
    section = config.evaluation.evaluation
    if args.heal and not section.assertions:
        raise ConfigError(f"--heal {args.heal} needs assertions: set `evaluation.assertions` to their file")

    from tunesmith.assertions import open_assertions

    with quick_imports():
        from tunesmith.generation.session import RetryOptions, open_session

    with ExitStack() as stack:
        retry = None
        if args.heal:
            checks = open_assertions(section.assertions or "", config.source, section.assertion_seconds)
            retry = RetryOptions(stack.enter_context(checks), args.heal)
        session = open_session(config, tuned=not args.base, base=args.compare or args.base, system=args.system)
        return _answer(args, config, session, row, retry)


def _answer(
    args: argparse.Namespace,
    config: Config,
    session: "GenerationSession",
    row: dict[str, Any],
    retry: "RetryOptions | None",
) -> int:
    """Answer on a page, from a file, one prompt, or in a chat; return the exit code."""
    from tunesmith.generation.session import answer_file, answer_once, answer_with_retries, chat, print_answers
    from tunesmith.modeling.generate import Sampling

    sampling = Sampling(
        max_new_tokens=args.max_new_tokens,
        temperature=args.temperature,
        top_p=args.top_p,
        top_k=args.top_k,
        repetition_penalty=args.repetition_penalty,
        seed=config.training.seed,
    )
    if args.gradio:
        from tunesmith.generation.page import build_page, serve

        title = f"{config.training.output_dir} on {config.model.base_model}"
        serve(build_page(session, title=title, sampling=sampling), port=args.port, share=args.share)
    elif args.prompt_file:
        batch_size = config.evaluation.evaluation.batch_size
        print_answers(answer_file(session, args.prompt_file, sampling, batch_size, retry))
    elif args.prompt is not None or not sys.stdin.isatty():
        text = args.prompt if args.prompt is not None else sys.stdin.read().rstrip("\n")
        if not text.strip():
            raise ConfigError("the prompt is empty; give --prompt TEXT, or text on standard input")
        if retry:
            return 0 if answer_with_retries(session, text, row, sampling, retry) else FAILED
        answer_once(session, text, sampling)
    else:
        import readline  # noqa: F401  (gives input() history and line editing)

        chat(session, sampling)
    return 0


def _check(args: argparse.Namespace) -> None:
    """Raise a ConfigError for options that exclude each other, or are out of their range."""
    if args.compare and args.base:
        raise ConfigError("--compare and --base: use only one")
    if args.prompt is not None and args.prompt_file:
        raise ConfigError("--prompt and --prompt-file: use only one")
    if args.temperature < 0 or args.max_new_tokens < 1 or not 0 < args.top_p <= 1 or args.repetition_penalty <= 0:
        raise ConfigError("--temperature must be 0 or more, --max-new-tokens 1 or more, --top-p in (0, 1]")


def _read_row(args: argparse.Namespace) -> dict[str, Any]:
    """Check the options of --heal, and return the columns for its assertions, in addition to the prompt."""
    if args.heal is None:
        if args.row:
            raise ConfigError("--row is for --heal, whose assertions may take its columns")
        return {}
    if args.heal < 1:
        raise ConfigError(f"--heal {args.heal}: expected the number of retries, 1 or more")
    if args.gradio or (args.prompt is None and not args.prompt_file and sys.stdin.isatty()):
        raise ConfigError("--heal goes with --prompt, --prompt-file, or a prompt on standard input")
    if args.row and args.prompt_file:
        raise ConfigError("--row is for one prompt; the assertions take the columns of the rows of --prompt-file")
    try:
        row = json.loads(args.row or "{}")
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
    options.add_argument("--system", metavar="TEXT", help="system message (default: the one that all rows share)")
    options.add_argument(
        "--heal", type=int, metavar="N", help="retry a failed answer up to N times with the reasons of assertions"
    )
    options.add_argument("--row", metavar="JSON", help="columns for the assertions of --heal, in addition to `prompt`")
    options.add_argument(
        "--max-new-tokens", type=int, metavar="N", default=512, help="most tokens of an answer (default 512)"
    )
    options.add_argument(
        "--temperature", type=float, metavar="T", default=0.0, help="0, the default, is greedy decoding"
    )
    options.add_argument(
        "--top-p",
        type=float,
        metavar="P",
        default=1.0,
        help="nucleus sampling: the likeliest tokens up to this probability",
    )
    options.add_argument("--top-k", type=int, metavar="K", default=0, help="sample from the K likeliest tokens")
    options.add_argument("--repetition-penalty", type=float, metavar="R", default=1.0, help="above 1 repeats less")
    options.add_argument("--gradio", action="store_true", help="open a page on 127.0.0.1")
    options.add_argument("--port", type=int, help="port of the page (default: the first free one from 7860)")
    options.add_argument("--share", action="store_true", help="make the page public through gradio's tunnel")
    return options


main = entry(inference)


if __name__ == "__main__":
    sys.exit(main())
