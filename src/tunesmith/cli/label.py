"""`tunesmith label`: label answers good or bad by keyboard, to measure the LLM judge."""

import sys
from pathlib import Path

from tunesmith.cli.arguments import entry, parser, read_config
from tunesmith.cli.judge import read_answers
from tunesmith.files import hold_lock
from tunesmith.log import note
from tunesmith.references import resolve_file

SUMMARY = "Label answers good or bad on a local page; each label is saved at once."
EXAMPLES = """  tunesmith label lora.yml                          # the answers of `tunesmith evaluate`
  tunesmith label lora.yml --answers rows.jsonl     # rows with the columns question and answer
  tunesmith judge lora.yml --against labels.csv     # what the labels are for"""


def label(arguments: list[str]) -> int:
    """Run the command until Ctrl-C and return its exit code."""
    options = parser("label", SUMMARY, EXAMPLES)
    options.add_argument("file", metavar="FILE_OR_FOLDER", help="YAML file, or the folder of a run")
    options.add_argument("--answers", metavar="FILE", help="report of tunesmith evaluate (the default), or rows")
    options.add_argument("--labels", metavar="CSV", help="file of the labels (default: `judge.labels`, or labels.csv)")
    options.add_argument("--port", type=int, default=0, help="port of the page (default: a free one)")
    args, overrides = options.parse_known_args(arguments)
    config = read_config(args.file, overrides, quiet=True)

    from tunesmith.evals.label_page import HOST, LabelServer, shuffle_items
    from tunesmith.evals.labels import LabelFile

    labels_name = config.evaluation.judge.labels if config.evaluation.judge else "labels.csv"
    file = Path(args.labels or resolve_file(labels_name, config.source))
    items = shuffle_items(read_answers(args.answers, config))
    busy = f"another page writes {file}; end it first, or name another file with --labels"
    with hold_lock(file.with_name(f".{file.name}.lock"), busy):
        labels = LabelFile(file)
        with LabelServer(items, labels, args.port) as server:
            note(f"label {len(items)} answers at http://{HOST}:{server.server_port} ; Ctrl-C ends, nothing is lost")
            try:
                server.serve_forever()
            except KeyboardInterrupt:
                marks = [labels.of(item).label for item in items]
                print(f"{file}: {marks.count('good')} good, {marks.count('bad')} bad, of {len(items)}")
    return 0


main = entry(label)


if __name__ == "__main__":
    sys.exit(main())
