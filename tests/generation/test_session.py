"""`inference` on the command line: one prompt, files of prompts, standard input, and a chat with history."""

import io
import json

import pytest

from tunesmith.cli.inference import main

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def config(tmp_path_factory, write_config):
    return str(write_config(tmp_path_factory.mktemp("inference"), bf16=False))


def run(*arguments):
    return main([*arguments, "--base", "--max-new-tokens", "8"])


def test_one_prompt_is_answered_with_the_system_turn_that_the_rows_share(config, capsys):
    assert run(config, "--prompt", "What is 3 + 4?") == 0
    output = capsys.readouterr()
    assert output.err.count("system message, as in the training rows: You add numbers.") == 1
    with_default = output.out
    assert run(config, "--prompt", "What is 3 + 4?", "--system", "You add numbers.") == 0
    assert capsys.readouterr().out == with_default


def test_standard_input_is_one_prompt(config, capsys, monkeypatch):
    run(config, "--prompt", "Say\nhello")
    expected = capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO("Say\nhello\n"))
    assert run(config) == 0
    assert capsys.readouterr().out == expected


def test_a_file_of_rows_gives_a_json_line_each_with_the_trained_prompt(
    config, tmp_path, capsys, write_jsonl, chat_rows
):
    rows = write_jsonl(tmp_path / "rows.jsonl", chat_rows(3))
    assert run(config, "--prompt-file", str(rows)) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [set(answer) for answer in answers] == [{"prompt", "base"}] * 3
    assert answers[1]["prompt"].endswith("What is 1 + 1?<|im_end|>\n<|im_start|>assistant\n")


def test_a_conversation_that_ends_with_the_user_is_answered(config, tmp_path, capsys, write_jsonl, chat_rows):
    (row,) = chat_rows(1)
    more = [*row["messages"], {"role": "user", "content": "And twice that?"}]
    rows = write_jsonl(tmp_path / "rows.jsonl", [{"messages": row["messages"][:2]}, {"messages": more}])
    assert run(config, "--prompt-file", str(rows)) == 0
    prompts = [json.loads(line)["prompt"] for line in capsys.readouterr().out.splitlines()]
    assert prompts[0].endswith("What is 0 + 0?<|im_end|>\n<|im_start|>assistant\n")
    assert "It is 0.<|im_end|>" in prompts[1]
    assert prompts[1].endswith("And twice that?<|im_end|>\n<|im_start|>assistant\n")


def test_a_text_file_holds_a_prompt_a_line(config, tmp_path, capsys):
    (tmp_path / "prompts.txt").write_text("Say hello.\n\nSay goodbye.\n")
    assert run(config, "--prompt-file", str(tmp_path / "prompts.txt")) == 0
    answers = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [answer["prompt"] for answer in answers] == ["Say hello.", "Say goodbye."]


def test_a_chat_remembers_until_it_is_told_to_start_over(config, monkeypatch):
    from tunesmith.config.load import load
    from tunesmith.generation.session import GenerationSession, chat, open_session
    from tunesmith.modeling.generate import Sampling

    session = open_session(load(config), tuned=False, base=True, system="")
    heard = []

    class Recording(GenerationSession):
        def prompt(self, turns):
            heard.append([turn["content"] for turn in turns])
            return super().prompt(turns)

    lines = iter(["one", "", "two", "/new", "three"])

    def typed(_):
        try:
            return next(lines)
        except StopIteration:
            raise EOFError from None

    monkeypatch.setattr("builtins.input", typed)
    chat(Recording(**vars(session)), Sampling(max_new_tokens=3))
    assert heard[0] == ["one"]
    assert (heard[1][0], heard[1][2]) == ("one", "two")
    assert heard[2] == ["three"]


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (["--prompt", "  "], 2, "the prompt is empty"),
        (["--prompt", "x", "--prompt-file", "y"], 2, "use only one"),
        (["--prompt-file", "none.jsonl"], 3, "none.jsonl: no such file"),
        (["--prompt", "x", "--temperature", "-1"], 2, "--temperature must be 0 or more"),
    ],
)
def test_wrong_input_is_one_clear_error(config, capsys, arguments, code, message):
    assert run(config, *arguments) == code
    assert message in capsys.readouterr().err


def test_prompts_other_than_the_trained_ones_are_warned_of(tmp_path, tokenizer, write_config, capsys):
    from tunesmith.checks.manifest import dataset_specs, prompt_manifest, save_manifest
    from tunesmith.config.load import load

    trained = load(str(write_config(tmp_path)))
    (tmp_path / "out/run").mkdir(parents=True)
    save_manifest(prompt_manifest(tokenizer, dataset_specs(trained, tokenizer)[0]), tmp_path / "out/run")
    warning = f"warning: prompts are not what {tmp_path}/out was trained with: the probe `single turn` differs at token"
    other = {"chat_template": "jinja", "chat_template_jinja": tokenizer.chat_template.replace("SmolLM", "Max")}
    for keys in ({}, other):
        changed = str(write_config(tmp_path, **keys))
        assert main([changed, "--prompt", "Hi"]) == 4  # there is no adapter; prompts are looked at before it
        assert (warning in capsys.readouterr().err) is bool(keys)
    run(changed, "--prompt", "Hi")
    assert warning not in capsys.readouterr().err  # the base model was trained with nothing of ours
