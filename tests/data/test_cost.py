"""What a long conversation costs: counted in messages that the template renders and characters that are tokenized."""

import pytest

from tunesmith.data.formats import FORMATS
from tunesmith.data.formats.format import FormatSpec
from tunesmith.data.tokenize import encode
from tunesmith.data.tokenizer import ChatTemplate, chat_template
from tunesmith.sections import Dataset


def conversation(turns):
    messages = []
    for n in range(turns // 2):
        messages.append({"role": "user", "content": f"Question {n}: " + "how do the bees make their honey? " * 2})
        messages.append({"role": "assistant", "content": f"Answer {n}: " + "they carry nectar into the hive. " * 3})
    return messages


class CountingTokenizer:
    """A tokenizer that counts the characters it is given."""

    def __init__(self, tokenizer):
        self.tokenizer, self.characters = tokenizer, 0

    def __call__(self, texts, **options):
        self.characters += len(texts) if isinstance(texts, str) else sum(map(len, texts))
        return self.tokenizer(texts, **options)

    def __getattr__(self, name):
        return getattr(self.tokenizer, name)


@pytest.mark.parametrize("name", [None, "chatml", "qwen_25"])
def test_the_cost_of_a_conversation_is_linear_in_its_turns(tokenizer, name, monkeypatch):
    rendered = []
    render = ChatTemplate.render
    monkeypatch.setattr(
        ChatTemplate,
        "render",
        lambda self, messages, **options: rendered.append(len(messages)) or render(self, messages, **options),
    )

    def cost(turns):
        """Return messages rendered for each turn, and characters tokenized for each of the plain text's."""
        template = chat_template(tokenizer, name, None, "config.yml")
        spec = FormatSpec(Dataset(path="x", type="chat_template"), template=template)
        messages, counting = conversation(turns), CountingTokenizer(tokenizer)
        plain = template.render(messages)
        rendered.clear()
        (examples,) = encode(FORMATS["chat_template"]({"messages": messages}, spec), counting)
        assert len(examples) == 1
        return sum(rendered) / turns, counting.characters / len(plain)

    for turns in (50, 400):
        messages, characters = cost(turns)
        assert messages <= 5
        assert characters <= 1.1
