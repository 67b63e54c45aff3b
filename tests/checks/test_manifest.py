"""The prompt manifest names what has changed in prompts since training, and where."""

import copy
import json

import pytest
from tokenizers import AddedToken
from tokenizers.processors import TemplateProcessing

from tunesmith.checks.manifest import (
    FILE,
    PROBES,
    changed_prompts,
    dataset_specs,
    prompt_manifest,
    save_manifest,
    served_as_trained,
)
from tunesmith.config.load import load


@pytest.fixture
def manifest(tmp_path, tokenizer, write_config):
    """`manifest(tokenizer, type=..., **keys)` is the manifest of a config with such a dataset."""

    def make(given=None, *, type="chat_template", keys=None, **dataset):
        entry = {"path": str(tmp_path / "rows.jsonl"), "type": type, **dataset}
        config = load(str(write_config(tmp_path, datasets=[entry], **(keys or {}))))
        chosen = given or tokenizer
        return prompt_manifest(chosen, dataset_specs(config, chosen)[0])

    return make


@pytest.fixture
def trained(tmp_path):
    """`trained(manifest)` is a folder of weights that came with this manifest."""

    def write(content):
        (tmp_path / "weights/run").mkdir(parents=True)
        save_manifest(content, tmp_path / "weights/run")
        return str(tmp_path / "weights")

    return write


def edited(tokenizer, template=None, **added):
    """Return a copy with another template, or with `<|im_end|>` added again with other settings."""
    found = copy.deepcopy(tokenizer)
    if template:
        found.chat_template = template
    if added:
        found.add_tokens([AddedToken("<|im_end|>", special=True, normalized=False, **added)], special_tokens=True)
    return found


def test_it_holds_the_probes_as_a_server_would_feed_them(manifest, tokenizer):
    found = manifest()
    prompts = tokenizer.apply_chat_template(PROBES["several turns"], add_generation_prompt=True)["input_ids"]
    assert found["probes"]["several turns"] == prompts
    assert found["probes"]["tools"] is None  # the template knows none
    assert found["special_tokens"]["eos_token"] == "<|im_end|>"
    assert found["dataset"] == {"type": "chat_template"}
    assert json.loads(json.dumps(found)) == found


@pytest.mark.parametrize("type", ["chat_template", "alpaca", "completion", "sharegpt"])
def test_it_is_the_same_each_time_and_after_saving(manifest, trained, tokenizer, tmp_path, type):
    from tunesmith.data.tokenizer import load_tokenizer

    before = manifest(type=type)
    tokenizer.save_pretrained(tmp_path / "saved")
    after = manifest(load_tokenizer(str(tmp_path / "saved")), type=type)
    assert after == before
    assert changed_prompts(trained(before), after, tokenizer) is None


def test_an_edited_template_is_shown_at_the_first_token_that_differs(manifest, trained, tokenizer):
    weights = trained(manifest())
    other = edited(
        tokenizer, template=tokenizer.chat_template.replace("assistant named SmolLM", "assistant called SmolLM")
    )
    change = changed_prompts(weights, manifest(other), tokenizer)
    assert change.prompts
    first, left, right, caret = change.text.split("\n")
    before, now = (found["probes"]["single turn"] for found in (manifest(), manifest(other)))
    place = next(i for i, (a, b) in enumerate(zip(before, now, strict=False)) if a != b)
    assert first == f"the probe `single turn` differs at token {place}"
    assert left[caret.index("^") :].startswith("`Ġnamed`(")
    assert right[caret.index("^") :].startswith("`Ġcalled`(")


def test_an_added_token_that_swallows_space_is_seen(manifest, trained, tokenizer):
    weights = trained(manifest())
    change = changed_prompts(weights, manifest(edited(tokenizer, rstrip=True)), tokenizer)
    left, right, caret = change.text.split("\n")[1:]
    assert change.prompts
    assert left[caret.index("^") :].startswith("`Ċ`(198)")
    assert right[caret.index("^") :].startswith("`<|im_start|>`(1)")


def test_a_begin_token_that_is_now_added_is_seen_at_token_0(manifest, trained, tokenizer):
    weights = trained(manifest(type="alpaca"))
    other = copy.deepcopy(tokenizer)
    other.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A", special_tokens=[("<|im_start|>", 1)]
    )
    change = changed_prompts(weights, manifest(other, type="alpaca"), tokenizer)
    assert change.prompts
    assert change.text.startswith("the probe `single turn` differs at token 0\n")


def test_a_template_that_now_refuses_a_turn_is_named(manifest, trained, tokenizer):
    weights = trained(manifest())
    refuses = "{% if messages[0].role == 'system' %}{{ raise_exception('no') }}{% endif %}" + tokenizer.chat_template
    change = changed_prompts(weights, manifest(edited(tokenizer, template=refuses)), tokenizer)
    assert change == ("the chat template refuses or ignores the probe `system turn`, other than in training", True)


def test_a_change_that_leaves_the_tokens_alone_is_only_mentioned(manifest, trained, tokenizer):
    weights = trained(manifest())
    commented = edited(tokenizer, template="{# a word #}" + tokenizer.chat_template)
    change = changed_prompts(weights, manifest(commented), tokenizer)
    assert change == ("changed: template; the probes are the same tokens", False)


def test_the_date_that_a_template_writes_is_no_change(manifest, tokenizer):
    dated = edited(tokenizer, template="{{ strftime_now('%H:%M:%S.%f') }}" + tokenizer.chat_template)
    assert manifest(dated) == manifest(dated)


def test_weights_without_a_manifest_are_used_without_a_word(manifest, tokenizer, tmp_path):
    assert changed_prompts(str(tmp_path), manifest(), tokenizer) is None
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / FILE).write_text("{ broken")
    assert changed_prompts(str(tmp_path), manifest(), tokenizer) is None


def test_a_checkpoint_finds_the_manifest_of_its_run(manifest, trained, tokenizer):
    weights = trained(manifest(type="alpaca"))
    assert changed_prompts(f"{weights}/checkpoint-60", manifest(type="completion"), tokenizer).prompts


def test_the_tokenizer_is_given_the_trained_template_with_its_settings(tmp_path, tokenizer, write_config):
    template = "\n{% for m in messages %}{{ m.content }}{{ eos_token }}{% endfor %}{{ [think, n] }}"
    entry = {"path": "rows.jsonl", "type": "chat_template", "chat_template": "jinja", "chat_template_jinja": template}
    settings = {"think": False, "n": "it's 'so' \n"}
    config = load(str(write_config(tmp_path, datasets=[entry], chat_template_kwargs=settings)))
    given = copy.deepcopy(tokenizer)
    served_as_trained(config, given)
    messages = [{"role": "user", "content": "a"}]
    expected = tokenizer.apply_chat_template(messages, chat_template=template, tokenize=False, **settings)
    assert given.apply_chat_template(messages, tokenize=False) == expected
    assert given.apply_chat_template(messages, tokenize=False, think=True) == expected.replace("False", "True")
    once = given.chat_template
    own = {"path": "rows.jsonl", "type": "chat_template"}
    served_as_trained(load(str(write_config(tmp_path, datasets=[own], chat_template_kwargs=settings))), given)
    assert given.chat_template == once
