"""A marker on a field is all that a new key needs: guard, note, rule, explanation and schema follow from it."""

from typing import Annotated

import pytest

from tunesmith.cli.explain import main as explain
from tunesmith.config.key_table import supported
from tunesmith.config.load import load, load_values
from tunesmith.config.reference import reference
from tunesmith.config.schema import schema
from tunesmith.errors import ConfigError
from tunesmith.sections import OWNER, SECTIONS, Config
from tunesmith.sections.fields import (
    SET,
    CodePath,
    Conflicts,
    EnvironmentName,
    FilePath,
    IgnoredIf,
    ModelPath,
    OnlyFor,
    OutputPath,
    Requires,
    RunsCode,
    Secret,
)
from tunesmith.sections.tracking import TrackingSection, without_secrets


class ToySection(TrackingSection):
    """The section of trackers with a key for each marker."""

    toy_file: Annotated[str | None, FilePath(inline="{")] = None
    """A file."""
    toy_model: Annotated[str | None, ModelPath()] = None
    """A model."""
    toy_output: Annotated[str | None, OutputPath()] = None
    """A folder."""
    toy_code: Annotated[str | None, CodePath()] = None
    """Code."""
    toy_trust: Annotated[bool, RunsCode()] = False
    """Trust."""
    toy_variable: Annotated[str | None, EnvironmentName()] = None
    """A variable."""
    toy_only: Annotated[int, OnlyFor(toy_trust=True, lr_scheduler="rex")] = 1
    """A number."""
    toy_ignored: Annotated[int, IgnoredIf(max_steps=True)] = 1
    """A number."""
    toy_needs: Annotated[int | None, Requires(3, toy_file=True, reason="see there")] = None
    """A number."""
    toy_excludes: Annotated[int | None, Conflicts(SET, seed=SET)] = None
    """A number."""


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    monkeypatch.setitem(SECTIONS, "tracking", ToySection)
    for key in ToySection.model_fields.keys() - TrackingSection.model_fields.keys():
        monkeypatch.setitem(OWNER, key, "tracking")
    supported.cache_clear()
    yield
    supported.cache_clear()


VALUES = {"base_model": "org/model", "datasets": [{"path": "org/rows"}], "learning_rate": 1e-4}


@pytest.mark.parametrize(
    ("keys", "reason"),
    [
        ({"toy_file": "/etc/passwd"}, "open what is neither on the Hub nor at https://"),
        ({"toy_file": "rows.txt"}, "open what is neither on the Hub nor at https://"),
        ({"toy_model": "./model"}, "open what is neither on the Hub nor at https://"),
        ({"toy_output": "../elsewhere"}, "write or read outside the working folder"),
        ({"toy_code": "own.py:function"}, "run code"),
        ({"toy_trust": True}, "run code"),
        ({"toy_variable": "HOME"}, "send what the environment of this machine holds"),
    ],
)
def test_a_marked_key_is_guarded_in_a_config_from_the_web(keys, reason):
    with pytest.raises(ConfigError, match=f"a config from the web may not {reason}"):
        load_values(VALUES | keys, "https://example.com/a.yml", {})
    assert isinstance(load_values(VALUES | keys, "a.yml", {}), Config)


@pytest.mark.parametrize("keys", [{"toy_file": "{text}/../x"}, {"toy_model": "org/name"}, {"toy_output": "out/a"}])
def test_a_marked_key_with_a_harmless_value_is_taken(keys):
    assert load_values(VALUES | keys, "https://example.com/a.yml", {}).notes == ()


@pytest.mark.parametrize(
    ("keys", "note"),
    [
        (
            {"toy_only": 2},
            "`toy_only`: ignored: only with `toy_trust: true` or `lr_scheduler: rex`",
        ),
        ({"toy_ignored": 2, "max_steps": 5}, "`toy_ignored`: ignored: `max_steps` is set"),
        ({"toy_only": 2, "lr_scheduler": "rex", "toy_ignored": 2}, ""),
    ],
)
def test_an_ignored_key_is_noted(keys, note):
    assert "\n".join(load_values(VALUES | keys, "a.yml", {}).notes) == note


@pytest.mark.parametrize(
    ("keys", "error"),
    [
        ({"toy_needs": 3}, "`toy_needs: 3` needs `toy_file`; see there"),
        ({"toy_excludes": 0, "seed": 0}, "`toy_excludes: 0` and `seed: 0`: use only one"),
    ],
)
def test_a_rule_is_applied(keys, error):
    with pytest.raises(ConfigError) as caught:
        load_values(VALUES | keys, "a.yml", {})
    assert str(caught.value) == f"a.yml: {error}"


def test_other_values_break_no_rule():
    assert load_values(VALUES | {"toy_needs": 2, "toy_excludes": 0}, "a.yml", {}).notes == ()


@pytest.mark.parametrize(
    ("key", "sentence"),
    [
        ("toy_only", "Only with `toy_trust: true` or `lr_scheduler: rex`."),
        ("toy_ignored", "Ignored with `max_steps`."),
        ("toy_needs", "`3` needs `toy_file`."),
        ("toy_excludes", "Not with `seed`."),
    ],
)
def test_explain_the_schema_and_the_page_of_keys_tell_it(capsys, key, sentence):
    assert explain([key]) == 0
    assert sentence in capsys.readouterr().out
    assert schema()["properties"][key]["description"] == f"A number. {sentence}"
    assert f"A number. {sentence} |" in reference()


def test_a_secret_is_not_written_down():
    assert Secret() in TrackingSection.model_fields["comet_api_key"].metadata
    assert without_secrets({"comet_api_key": "hush", "seed": 1}) == {"comet_api_key": "***", "seed": 1}


def test_a_condition_inside_an_entry_of_a_list_is_found(tmp_path, write_config):
    entry = {"path": "a", "type": "chat_template", "chat_template": "jinja"}
    with pytest.raises(ConfigError, match="`chat_template: jinja` needs `chat_template_jinja`"):
        load(str(write_config(tmp_path, datasets=[{"path": "b"}, entry])))
