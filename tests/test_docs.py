"""The documentation is true: its commands and links exist, its configs load, its key reference is that of the code."""

import re
from pathlib import Path

import pytest

from tunesmith.cli.main import COMMANDS
from tunesmith.config.load import load
from tunesmith.config.reference import reference

ROOT = Path(__file__).parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("design/*.md"), *ROOT.glob("examples/*/*.md")])


def commands(text):
    """Return the command and its options for every line of a code block that begins with `tunesmith`."""
    blocks = re.findall(r"^```\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    return re.findall(r"^tunesmith (\S+)(.*)$", "\n".join(blocks), re.MULTILINE)


def test_the_key_reference_is_that_of_the_code():
    assert (ROOT / "docs/keys.md").read_text() == reference(), "run python -m tunesmith.config.reference > docs/keys.md"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_command_and_option_in_the_documentation_exists(page):
    for name, options in commands(page.read_text()):
        assert name in COMMANDS, f"{page.name}: tunesmith {name}"
        module = (ROOT / f"src/tunesmith/cli/{name.replace('-', '_')}.py").read_text()
        module += (ROOT / "src/tunesmith/cli/arguments.py").read_text()
        for option in re.findall(r"--([a-z][a-z-]+)", options.split("#")[0]):
            is_key = f"| `{option.replace('-', '_')}` |" in (ROOT / "docs/keys.md").read_text()
            assert f'"--{option}"' in module or is_key, f"{page.name}: tunesmith {name} --{option}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_link_leads_somewhere(page):
    for link in re.findall(r"\]\((?!https?:)([^)#]+)\)", page.read_text()):
        assert (page.parent / link).exists(), f"{page.name}: {link}"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_every_source_file_in_the_documentation_exists(page):
    text = page.read_text()
    packages = "|".join(sorted(folder.name for folder in (ROOT / "src/tunesmith").iterdir() if folder.is_dir()))
    files = [ROOT / name for name in re.findall(r"(?<![\w/])(?:src|tests)/[\w/]+\.\w+", text)]
    files += [ROOT / "src/tunesmith" / name for name in re.findall(rf"`((?:{packages})/[\w/]+\.py)`", text)]
    assert [str(file) for file in files if not file.exists()] == []


def test_the_functions_in_the_answers_for_newcomers_exist():
    answers = re.findall(r"`(src/[\w/]+\.py)`: .*?`(\w+)\(\)`", (ROOT / "CONTRIBUTING.md").read_text())
    assert answers
    for file, function in answers:
        assert f"def {function}(" in (ROOT / file).read_text(), f"{file}: {function}"


def test_the_config_in_the_readme_loads(tmp_path):
    found = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    assert found
    for number, text in enumerate(found):
        file = tmp_path / f"{number}.yml"
        file.write_text(text)
        assert load(str(file)).training.learning_rate > 0


def test_the_readme_opens_with_the_two_commands_of_the_makefile():
    first_screen = "\n".join((ROOT / "README.md").read_text().splitlines()[:25])
    makefile = (ROOT / "Makefile").read_text()
    for target in ("demo", "test"):
        assert f"make {target} " in first_screen
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
    assert (ROOT / ".ci/run").read_text().splitlines()[-1] == "make test"
