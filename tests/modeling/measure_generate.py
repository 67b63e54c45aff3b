"""Seconds that held-out prompts of the honeycomb example take in batches, against those of prompts one at a time.

python tests/modeling/measure_generate.py outputs/honeycomb-lora --prompts 200 --batch-sizes 16 40

The folder is that of a run, or a YAML file with --base. A prompt alone is the mean of some that are spread over all.
Processor time is printed too, which other work on the machine changes less.
"""

import argparse
import time
from collections.abc import Sequence

from tunesmith.cli.arguments import quiet_libraries, read_config
from tunesmith.data.held_out import held_out_questions
from tunesmith.data.splits import prepare_splits
from tunesmith.generation.variants import load_variants
from tunesmith.hardware import detect
from tunesmith.modeling.generate import Sampling, find_stop_tokens, generate
from tunesmith.modeling.tokenizer import model_tokenizer


def main() -> None:
    """Print a line for each batch size."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("file")
    options.add_argument("--base", action="store_true")
    options.add_argument("--prompts", type=int, default=200)
    options.add_argument("--alone", type=int, default=10, help="prompts that are asked one at a time")
    options.add_argument("--batch-sizes", type=int, nargs="+", default=[16, 40])
    given, rest = options.parse_known_args()
    quiet_libraries()
    config = read_config(given.file, rest, quiet=True)
    tokenizer = model_tokenizer(config.model)
    (variant,) = load_variants(config, detect(), tuned=not given.base, base=given.base)
    asked = list(held_out_questions(config, prepare_splits(config, tokenizer).held_out, tokenizer, given.prompts))
    prompts = [item.question.input_ids for item in asked]
    sampling = Sampling(max_new_tokens=config.evaluation.evaluation.max_new_tokens)
    ends = find_stop_tokens(variant.model, tokenizer, asked[0].template)

    def seconds(some: Sequence[Sequence[int]], batch_size: int) -> tuple[float, float, list[str]]:
        begin, worked = time.monotonic(), time.process_time()
        answers = generate(variant, some, tokenizer, sampling, ends=ends, batch_size=batch_size)
        return time.monotonic() - begin, time.process_time() - worked, answers

    seconds(prompts[:1], 1)  # the first one pays for what is kept
    alone = prompts[:: max(1, len(prompts) // given.alone)][: given.alone]
    clock, worked, single = seconds(alone, 1)
    tokens = sum(len(tokenizer(text).input_ids) for text in single) / len(alone)
    print(f"{variant.name}, {variant.model.dtype}: {clock / len(alone):.2f} s a prompt alone, {tokens:.0f} tokens each")
    print("| prompts | at once | seconds | prompts alone in that time | of processor time |\n|---|---|---|---|---|")
    for size in given.batch_sizes:
        some, busy, _ = seconds(prompts, size)
        times, busy_times = some / clock * len(alone), busy / worked * len(alone)
        print(f"| {len(prompts)} | {size} | {some:.1f} | {times:.1f} | {busy_times:.1f} |", flush=True)


if __name__ == "__main__":
    main()
