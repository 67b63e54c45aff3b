"""Retry with feedback: a failed answer is generated again with the reasons, until it passes or no try is left."""

import json

import pytest

from tunesmith.assertions import Case, open_assertions
from tunesmith.cli.inference import main
from tunesmith.data.formats.format import FormatSpec
from tunesmith.data.question import conversation_prompt, question
from tunesmith.data.tokenizer import chat_template
from tunesmith.generation.retry import retry_with_feedback
from tunesmith.sections import Dataset

RULES = """
def test_digit(answer):
    assert answer.isdigit(), f"{answer!r} is no number"
def test_number(row, answer):
    assert answer == row.get("wanted"), f"it is not {row.get('wanted')}"
"""


@pytest.fixture(scope="module")
def runner(tmp_path_factory):
    folder = tmp_path_factory.mktemp("retry")
    (folder / "rules.py").write_text(RULES)
    with open_assertions("rules.py", str(folder / "config.yml")) as runner:
        yield runner


def test_only_what_fails_is_asked_again_with_the_reasons(runner):
    replies = {0: ["1"], 1: ["two", "2"], 2: ["x", "y", "z"]}
    asked = []

    def ask(pending):
        asked.append([(index, list(said)) for index, said in pending])
        return [replies[index][len(said) // 2] for index, said in pending]

    found = retry_with_feedback(ask, [Case({"wanted": str(n)}, "") for n in (1, 2, 3)], runner, 2)
    assert [(item.answer, item.tries) for item in found] == [("1", 1), ("2", 2), ("z", 3)]
    assert [verdict.reason for verdict in found[2].failed] == ["'z' is no number", "it is not 3"]
    assert [[index for index, _ in each] for each in asked] == [[0, 1, 2], [1, 2], [2]]
    answer, feedback = asked[1][0][1]
    assert answer == {"role": "assistant", "content": "two"}
    assert feedback["role"] == "user"
    assert feedback["content"].splitlines()[1:3] == ["- 'two' is no number", "- it is not 2"]
    assert len(asked[2][0][1]) == 4  # the second answer and its failure follow the first


SAID = [{"role": "assistant", "content": "Five."}, {"role": "user", "content": "Wrong."}]
CHAT = [{"role": "user", "content": "2 + 2?"}, {"role": "assistant", "content": "4"}]


def test_a_chat_goes_on_with_the_answer_and_the_failure_as_turns(tokenizer):
    spec = FormatSpec(Dataset(path="x", type="chat_template"), template=chat_template(tokenizer, None, None, "x"))
    asked = question({"messages": CHAT}, spec, tokenizer, SAID).input_ids
    assert asked == conversation_prompt(CHAT[:1], spec, tokenizer, SAID)
    assert asked == question({"messages": [CHAT[0], *SAID, CHAT[1]]}, spec, tokenizer).input_ids


def test_a_conversation_without_a_template_does_so_too(tokenizer):
    spec = FormatSpec(Dataset(path="x", type="sharegpt", conversation="vicuna_v1.1"), tokenizer=tokenizer)
    row = {"conversations": [{"from": "human", "value": "2 + 2?"}, {"from": "gpt", "value": "4"}]}
    text = tokenizer.decode(question(row, spec, tokenizer, SAID).input_ids)
    assert "USER: 2 + 2? ASSISTANT: Five." in text
    assert text.endswith("USER: Wrong. ASSISTANT:")


@pytest.mark.parametrize("kind", ["alpaca", "prompt_completion"])
def test_a_type_of_one_turn_goes_on_with_the_failure_as_the_next_prompt(tokenizer, kind):
    spec = FormatSpec(Dataset(path="x", type=kind), tokenizer=tokenizer)
    row = {"instruction": "Add.", "output": "4", "prompt": "2 + 2 =", "completion": " 4"}
    first = question(row, spec, tokenizer).input_ids
    again = question(row, spec, tokenizer, SAID).input_ids
    next_prompt = conversation_prompt(SAID[1:], spec, tokenizer)
    assert tokenizer.decode(again) == tokenizer.decode([*first, *tokenizer("Five.\n\n").input_ids, *next_prompt])


@pytest.fixture(scope="module")
def config(tmp_path_factory, write_config):
    folder = tmp_path_factory.mktemp("inference")
    (folder / "rules.py").write_text(
        "def test_asked_twice(answer, prompt='', extra=None):\n    assert extra == 1, 'there is more to it'\n"
    )
    return str(write_config(folder, bf16=False, evaluation={"assertions": "rules.py"}))


def run(*arguments):
    return main([*arguments, "--base", "--max-new-tokens", "4"])


@pytest.mark.slow
def test_one_prompt_is_retried_and_the_exit_code_tells(config, capsys):
    assert run(config, "--prompt", "Hi", "--heal", "1", "--row", '{"extra": 1}') == 0
    passed = capsys.readouterr()
    assert "base: passes after 1 try" in passed.err
    assert run(config, "--prompt", "Hi", "--heal", "2") == 6
    failed = capsys.readouterr()
    assert "base: still fails after 3 tries: there is more to it" in failed.err
    assert len(failed.out.splitlines()) == len(passed.out.splitlines()) == 1


@pytest.mark.slow
def test_a_file_of_rows_tells_tries_and_failures_in_each_line(config, tmp_path, capsys, write_jsonl, chat_rows):
    rows = chat_rows(2)
    rows[0]["extra"] = 1
    file = write_jsonl(tmp_path / "rows.jsonl", rows)
    assert run(config, "--prompt-file", str(file), "--heal", "1") == 0
    output = capsys.readouterr()
    first, second = map(json.loads, output.out.splitlines())
    assert (first["tries"], first["failed"]) == ({"base": 1}, {"base": {}})
    assert (second["tries"], second["failed"]) == ({"base": 2}, {"base": {"test_asked_twice": "there is more to it"}})
    assert "base: of 2 answers 1 pass at once, 0 after a retry, 1 fail" in output.err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prompt", "x", "--heal", "0"], "--heal 0: expected the number of retries"),
        (["--gradio", "--heal", "1"], "--heal goes with --prompt, --prompt-file, or a prompt on standard input"),
        (["--prompt", "x", "--heal", "1", "--row", "{"], "--row: not JSON"),
        (["--prompt", "x", "--heal", "1", "--row", "3"], "--row: expected an object of columns"),
        (["--prompt", "x", "--row", "{}"], "--row is for --heal"),
        (["--prompt", "x", "--heal", "1", "--evaluation.assertions", "none.py"], "none.py: no such file"),
        (["--prompt", "x", "--heal", "1", "--evaluation.assertions", "null"], "--heal 1 needs assertions"),
    ],
)
def test_wrong_input_is_one_clear_error(config, capsys, arguments, message):
    assert run(config, *arguments) == 2
    assert message in capsys.readouterr().err
