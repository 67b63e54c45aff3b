"""`tunesmith merge-lora`: merge a LoRA adapter into its base model."""

import sys
from pathlib import Path

from tunesmith.cli.arguments import entry, parser, read_config

SUMMARY = "Merge a LoRA adapter into its base model: a folder that AutoModelForCausalLM loads."
EXAMPLES = """  tunesmith merge-lora outputs/honeycomb-lora
  tunesmith merge-lora lora.yml --lora-model-dir outputs/honeycomb-lora/checkpoint-60 --output merged-60
  tunesmith merge-lora lora.yml --dtype float32"""


def merge_lora(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parser("merge-lora", SUMMARY, EXAMPLES)
    options.add_argument("file", metavar="FILE_OR_FOLDER", help="YAML file, or the folder of a run")
    options.add_argument("--output", metavar="DIR", help="where to write (default: merged/ in output_dir)")
    options.add_argument(
        "--dtype", choices=["bfloat16", "float16", "float32"], default="bfloat16", help="data type (default bfloat16)"
    )
    args, overrides = options.parse_known_args(arguments)
    config = read_config(args.file, overrides)

    from tunesmith.export.exporters import export_model

    folder = Path(args.output or Path(config.training.output_dir) / "merged")
    print(export_model("merged", config, folder, args.dtype))
    return 0


main = entry(merge_lora)


if __name__ == "__main__":
    sys.exit(main())
