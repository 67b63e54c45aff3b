"""`tunesmith inference`: ask the model, with the prompt that was trained."""

import argparse
import sys
from collections.abc import Sequence

from tunesmith.cli.arguments import parser, read_config, run
from tunesmith.errors import ConfigError

SUMMARY = "Ask the tuned model: a chat in the terminal, one prompt, a file of prompts, or a page in the browser."
EXAMPLES = """  tunesmith inference outputs/honeycomb-lora
  tunesmith inference lora.yml --lora-model-dir outputs/honeycomb-lora --prompt "How many errors?"
  tunesmith inference outputs/honeycomb-lora --prompt-file eval.jsonl --compare > answers.jsonl
  echo "Hello" | tunesmith inference outputs/honeycomb-lora
  tunesmith inference outputs/honeycomb-lora --gradio --compare"""


def inference(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    given, overrides = _options().parse_known_args(arguments)
    if given.compare and given.base:
        raise ConfigError("--compare and --base: keep one")
    if given.prompt is not None and given.prompt_file:
        raise ConfigError("--prompt and --prompt-file: keep one")
    if given.temperature < 0 or given.max_new_tokens < 1 or not 0 < given.top_p <= 1 or given.repetition_penalty <= 0:
        raise ConfigError("--temperature must be 0 or more, --max-new-tokens 1 or more, --top-p in (0, 1]")
    config = read_config(given.file, overrides)

    from tunesmith.generation.ask import answer_file, ask, chat, make_asker, print_answers
    from tunesmith.modeling.generate import Sampling

    sampling = Sampling(
        max_new_tokens=given.max_new_tokens,
        temperature=given.temperature,
        top_p=given.top_p,
        top_k=given.top_k,
        repetition_penalty=given.repetition_penalty,
        seed=config.training.seed,
    )
    asker = make_asker(config, tuned=not given.base, base=given.compare or given.base, system=given.system)
    if given.gradio:
        from tunesmith.generation.page import build_page, serve

        title = f"{config.training.output_dir} on {config.model.base_model}"
        serve(build_page(asker, title=title, sampling=sampling), port=given.port, share=given.share)
    elif given.prompt_file:
        print_answers(answer_file(asker, given.prompt_file, sampling, config.evaluation.evaluation.batch_size))
    elif given.prompt is not None or not sys.stdin.isatty():
        text = given.prompt if given.prompt is not None else sys.stdin.read().rstrip("\n")
        if not text.strip():
            raise ConfigError("the prompt is empty; give --prompt TEXT, or text on standard input")
        ask(asker, text, sampling)
    else:
        import readline  # noqa: F401  (gives input() history and line editing)

        chat(asker, sampling)
    return 0


def _options() -> argparse.ArgumentParser:
    options = parser("inference", SUMMARY, EXAMPLES)
    options.add_argument("file", metavar="FILE_OR_FOLDER", help="YAML file, or the folder of a run")
    options.add_argument("--prompt", metavar="TEXT", help="one prompt; the answer is printed")
    options.add_argument("--prompt-file", metavar="FILE", help="rows of the dataset's type, or a prompt a line")
    options.add_argument("--compare", action="store_true", help="base and tuned model side by side")
    options.add_argument("--base", action="store_true", help="the base model only")
    options.add_argument("--system", metavar="TEXT", help="system turn (default: the one that the rows share)")
    options.add_argument("--max-new-tokens", type=int, metavar="N", default=512, help="longest answer (default 512)")
    options.add_argument("--temperature", type=float, metavar="T", default=0.0, help="0, the default, is the likeliest")
    options.add_argument("--top-p", type=float, metavar="P", default=1.0, help="sample from this share of likelihood")
    options.add_argument("--top-k", type=int, metavar="K", default=0, help="sample from the K likeliest tokens")
    options.add_argument("--repetition-penalty", type=float, metavar="R", default=1.0, help="above 1 repeats less")
    options.add_argument("--gradio", action="store_true", help="open a page on 127.0.0.1")
    options.add_argument("--port", type=int, help="port of the page (default: the first free one from 7860)")
    options.add_argument("--share", action="store_true", help="make the page public through gradio's tunnel")
    return options


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command with the error handling of all commands."""
    return run(inference, arguments)


if __name__ == "__main__":
    sys.exit(main())
