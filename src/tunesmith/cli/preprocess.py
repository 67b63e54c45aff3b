"""`tunesmith preprocess`: rows to tokens, and a look at them."""

import sys
from typing import TYPE_CHECKING, Any

from tunesmith.cli.arguments import entry, parser, read_config
from tunesmith.errors import ConfigError

if TYPE_CHECKING:
    from datasets import Dataset

    from tunesmith.data.tokenizer import Tokenizer

SUMMARY = "Tokenize the data of the file, without loading the model, and say what became of every row."
EXAMPLES = """  tunesmith preprocess examples/honeycomb/lora.yml
  tunesmith preprocess lora.yml --debug --debug-num-examples 3
  tunesmith preprocess lora.yml --debug --debug-row train.jsonl:17"""


def preprocess(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parser("preprocess", SUMMARY, EXAMPLES)
    options.add_argument("file", metavar="FILE", help="YAML file, or - for standard input")
    options.add_argument("--debug", action="store_true", help="print samples as text(label, id), trained ones green")
    options.add_argument("--debug-num-examples", type=int, metavar="N", default=1, help="how many (default 1)")
    options.add_argument("--debug-row", metavar="ROW", help="which: a line of the file, or FILE:LINE")
    options.add_argument("--debug-text-only", action="store_true", help="print the text without labels and ids")
    args, overrides = options.parse_known_args(arguments)
    config = read_config(args.file, overrides)

    from tunesmith.checks.doctor import quick_checks
    from tunesmith.data.splits import describe, prepare_splits
    from tunesmith.modeling.builtin import local_base_model
    from tunesmith.modeling.tokenizer import model_tokenizer

    tokenizer = model_tokenizer(config.model)
    quick_checks(config, tokenizer, model_folder=local_base_model(config.model.base_model), warn_only=True)
    splits = prepare_splits(config, tokenizer, rebuild=True)
    if args.debug or args.debug_text_only or args.debug_row:
        indexes = _select_samples(splits.train, args.debug_row, args.debug_num_examples)
        _show(splits.train, indexes, tokenizer, text_only=args.debug_text_only)
    print("\n".join(describe(splits.parts)))
    if splits.held_out is not None:
        print(f"training on {len(splits.train):,} samples, holding out {len(splits.held_out):,}")
    return 0


def _select_samples(train: "Dataset", row: str | None, count: int) -> list[int]:
    """Return the indexes of the first samples, or of the samples of a row."""
    if row is None:
        return list(range(min(count, len(train))))
    name, _, line = row.rpartition(":")
    if not line.isdigit():
        raise ConfigError(f"--debug-row {row}: expected a line number, or FILE:LINE")
    locations = enumerate(zip(train["file"], train["row"], strict=True))
    indexes = [index for index, (file, number) in locations if number == int(line) and file.endswith(name)]
    if not indexes:
        raise ConfigError(f"--debug-row {row}: no sample of the training set comes from that row")
    return indexes


def _show(train: "Dataset", indexes: list[int], tokenizer: "Tokenizer", *, text_only: bool) -> None:
    from rich.console import Console

    from tunesmith.data.debug import token_view
    from tunesmith.data.types import MASKED

    console = Console(soft_wrap=True, highlight=False)
    for index in indexes:
        sample = train[index]
        location = f"{sample['file']}:{sample['row']}"
        for ids, labels, name in _documents(sample):
            num_trained = sum(label != MASKED for label in labels)
            console.print(location + name, style="bold")
            console.print(token_view(ids, labels, tokenizer, text_only=text_only))
            console.print(f"total tokens: {len(ids)}, trained: {num_trained}\n")


def _documents(sample: dict[str, Any]) -> list[tuple[list[int], list[int], str]]:
    """Return tokens, labels and name of a sample, or of both answers of a preference row."""
    from tunesmith.data.types import SPLIT_INDEX_COLUMN, Example

    names = {None: "", True: ", chosen", False: ", rejected"}
    example = Example(sample["input_ids"], sample["labels"], split_index=sample.get(SPLIT_INDEX_COLUMN))
    return [(document.input_ids, document.labels, names[document.label]) for document in example.documents]


main = entry(preprocess)


if __name__ == "__main__":
    sys.exit(main())
