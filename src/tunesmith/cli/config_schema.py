"""`tunesmith config-schema`: what editors need to complete and check a config."""

import json
import sys
from pathlib import Path

from tunesmith.cli.arguments import entry, parser
from tunesmith.config.schema import schema
from tunesmith.errors import ConfigError
from tunesmith.files import write_text

SUMMARY = "Print the JSON schema (draft 2020-12) of a config file, for completion and checks in an editor."
ABOUT = """With the YAML extension of VS Code (or yaml-language-server in any editor), write it beside your files and
begin each with the line `# yaml-language-server: $schema=tunesmith.schema.json`."""
EXAMPLES = """  tunesmith config-schema --output tunesmith.schema.json
  tunesmith config-schema | jq .properties.learning_rate"""


def config_schema(arguments: list[str]) -> int:
    """Run the command and return its exit code."""
    options = parser("config-schema", SUMMARY, EXAMPLES, ABOUT)
    options.add_argument("--output", metavar="FILE", help="write it to this file, not to standard output")
    args = options.parse_args(arguments)
    text = json.dumps(schema(), indent=1, ensure_ascii=False)
    if args.output:
        try:
            write_text(Path(args.output), text + "\n")
        except OSError as error:
            raise ConfigError(f"--output {args.output}: {error.strerror}") from None
    else:
        print(text, flush=True)
    return 0


main = entry(config_schema)


if __name__ == "__main__":
    sys.exit(main())
