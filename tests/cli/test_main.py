"""The command: it loads only what it needs, and is clear about what it does not know."""

import subprocess
import sys

import pytest

from tunesmith import __version__
from tunesmith.cli.main import COMMANDS, main

HELP = """
import sys
before = set(sys.modules)
from tunesmith.cli.main import main
code = main(["--help"])
packages = {name.split(".")[0] for name in set(sys.modules) - before}
print(code, packages - sys.stdlib_module_names)
"""


def test_help_imports_only_the_standard_library():
    result = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-1] == "0 {'tunesmith'}"


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command_imports_nothing_heavy(command):
    code = (
        "import sys\nfrom tunesmith.cli.main import main\n"
        f"try:\n    main([{command!r}, '--help'])\nexcept SystemExit as end:\n    print(end.code)\n"
        "print({'torch', 'transformers', 'datasets'} & set(sys.modules))"
    )
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.splitlines()[-2:] == ["0", "set()"]
    assert f"usage: tunesmith {command}" in result.stdout
    assert "examples:" in result.stdout


def test_help_lists_every_command(capsys):
    assert main(["--help"]) == 0
    listed = [line.split()[0] for line in capsys.readouterr().out.splitlines() if line.startswith("  ")]
    assert listed[: len(COMMANDS)] == list(COMMANDS)


def test_without_a_command_the_help_is_printed_and_the_exit_code_is_two(capsys):
    assert main([]) == 2
    assert capsys.readouterr().out.startswith("usage: tunesmith COMMAND FILE")


def test_version(capsys):
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"tunesmith {__version__}\n"


@pytest.mark.parametrize(
    ("name", "near"),
    [("trian", "; did you mean `train`?"), ("merge-lroa", "; did you mean `merge-lora`?"), ("zzz", ";")],
)
def test_an_unknown_command_is_one_line_with_the_nearest_name(name, near, capsys):
    assert main([name, "x.yml"]) == 2
    assert capsys.readouterr().err == f"error: no command `{name}`{near} `tunesmith --help` lists the commands\n"


def test_underscores_in_a_command_are_dashes(capsys):
    assert main(["merge_lora", "none.yml"]) == 2
    assert capsys.readouterr().err == "error: none.yml: no such file\n"


WITHOUT_FILE = {"config-schema", "diff", "examples", "explain", "init", "runs"}


@pytest.mark.parametrize("command", [name for name in COMMANDS if name not in WITHOUT_FILE])
def test_every_command_answers_a_missing_file_in_one_line(command, capsys):
    assert main([command, "none.yml"]) == 2
    assert capsys.readouterr().err == "error: none.yml: no such file\n"


def test_help_may_go_to_a_reader_that_has_left():
    result = subprocess.run(
        f"{sys.executable} -m tunesmith --help | true", shell=True, capture_output=True, text=True, timeout=60
    )
    assert result.stderr == ""
