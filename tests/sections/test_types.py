"""Names of layouts and templates: those that `data` has, and what is said about others."""

import pytest

from tunesmith.config.load import load
from tunesmith.data.tokenizer import named_templates
from tunesmith.errors import ConfigError
from tunesmith.sections.types import TEMPLATES


def test_the_names_are_those_that_data_has():
    assert set(TEMPLATES) == set(named_templates())


@pytest.mark.parametrize("name", ["alpaca", "own.py:rows", "sharegpt.load_role", None, *({"field_system": "s"},)])
def test_a_known_type_loads(tmp_path, write_config, name):
    load(str(write_config(tmp_path, datasets=[{"path": "a", "type": name}])))


@pytest.mark.parametrize("name", ["chatml", "chatml.intel", "chat_template", None])
def test_a_known_type_of_preferences_loads(tmp_path, write_config, name):
    load(str(write_config(tmp_path, rl="dpo", datasets=[{"path": "a", "type": name}])))


@pytest.mark.parametrize(
    ("keys", "line", "expected"),
    [
        ({"type": "alpacca"}, 3, "`datasets.type: alpacca` is none of chat_template, "),
        ({"type": "alpacca"}, 3, "; did you mean `alpaca`?"),
        ({"type": "chatml.intel"}, 3, "`datasets.type: chatml.intel` is for preference data; set `rl: dpo`"),
        ({"type": {"field_instuction": "q"}}, 4, "`field_instuction` in `datasets.type`; known are system_prompt, "),
        ({"type": {"field_instuction": "q"}}, 4, "; did you mean `field_instruction`?"),
        ({"chat_template": "chatmll"}, 2, "`chat_template: chatmll` is none of tokenizer_default, jinja, "),
        (
            {"type": "alpaca", "rl": "dpo"},
            3,
            "`datasets.type: alpaca` is not a type for `rl: dpo`; known are chatml.",
        ),
        (
            {"type": {"field_x": "q"}, "rl": "orpo"},
            4,
            "in `datasets.type`; `rl: orpo` takes no mapping",
        ),
    ],
)
def test_an_unknown_name_is_found_with_its_line_among_all_faults(tmp_path, keys, line, expected):
    rl = keys.pop("rl", None)
    entry = {"path": "a"} | keys
    text = "datasets:\n" + "".join(
        f"{'  - ' if key == 'path' else '    '}{key}: {value}\n"
        if not isinstance(value, dict)
        else f"    {key}:\n" + "".join(f"      {inner}: {item}\n" for inner, item in value.items())
        for key, value in entry.items()
    )
    text += "base_model: x\nlearning_rate: 1e-4\nseed: x\n" + (f"rl: {rl}\n" if rl else "")
    (tmp_path / "a.yml").write_text(text)
    with pytest.raises(ConfigError) as caught:
        load(str(tmp_path / "a.yml"))
    lines = str(caught.value).splitlines()
    assert any(f"a.yml:{line + ('chat_template' in keys)}:" in found and expected in found for found in lines)
    assert any("`seed` expects a whole number" in found for found in lines)


def test_an_unknown_template_of_the_file_is_an_error_also_where_no_dataset_reads_it(tmp_path, write_config):
    with pytest.raises(ConfigError, match=r"`chat_template: chatmk` is none of .*did you mean `chatml`"):
        load(str(write_config(tmp_path, chat_template="chatmk", datasets=[{"path": "a", "type": "alpaca"}])))
