"""Every finding of the data doctor: its code, how bad it is, what it means, and what to do.

A new finding is a line here and the check that reports it. `python -m tunesmith.checks.catalogue` prints the table of
`docs/check.md`.
"""

from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from tunesmith.checks.report import Finding, Hit, Severity
from tunesmith.checks.text import masked

HITS = 20
"""Rows kept of each finding."""


class Known(NamedTuple):
    """What is known of a finding before it is found.

    Attributes:
        severity: an error is a certain fault; a warning most likely one; an info only something to know.
        title: what is wrong; details may follow it.
        cure: what to do.
    """

    severity: Severity
    title: str
    cure: str


TOKENIZER: dict[str, Known] = {
    "eos-missing": Known(
        "error",
        "the tokenizer has no end token, so that the model cannot learn to stop",
        "set `special_tokens: {eos_token: ...}` to the token that ends an answer",
    ),
    "eos-split": Known(
        "warning",
        "the text of the end token is not read as that token",
        "do not write the end token in your data; where the chat template writes it, choose another `chat_template`",
    ),
    "bos-setting-ignored": Known(
        "warning",
        "the tokenizer's settings promise a begin token, and it adds none",
        "use a `chat_template` that writes the begin token, or the tokenizer that the model came with",
    ),
    "added-token-strips": Known(
        "info",
        "some added tokens swallow the whitespace beside them",
        "nothing, if the same tokenizer serves; do not rely on spaces or newlines beside these tokens",
    ),
    "pad-equals-eos": Known(
        "info",
        "the pad token is the end token",
        "nothing here: padding is masked by its position; other trainers may mask the end token with it",
    ),
    "stop-differs": Known(
        "warning",
        "answers end with a token at which the served model does not stop",
        "add its id to `eos_token_id` in the model's generation_config.json, or set `special_tokens: {eos_token: ...}`",
    ),
    "vocabulary-mismatch": Known(
        "warning",
        "the tokenizer and the model differ in the size of their vocabulary by more than a tenth",
        "set `tokenizer_config` to the tokenizer that belongs to `base_model`",
    ),
    "token-without-embedding": Known(
        "error",
        "tokens in use have no row in the model's embedding, so that training fails",
        "use tokens that the vocabulary has in `special_tokens`, or the tokenizer of `base_model`",
    ),
    "new-token-untrained": Known(
        "error",
        "new tokens are in use, and the adapter does not train their embedding: it stays what it was at random",
        "set `lora_modules_to_save: [embed_tokens, lm_head]`, or use tokens that the vocabulary has",
    ),
    "whitespace-lost": Known(
        "warning",
        "the tokenizer does not keep whitespace as it is",
        "nothing for prose; for code or tables choose a model whose tokenizer keeps it",
    ),
    "sentencepiece-differs": Known(
        "error",
        "tokenizer.json and the model's SentencePiece file give different tokens",
        "use the tokenizer.json that was published with the model: set `tokenizer_config` to its folder",
    ),
}

TEMPLATE: dict[str, Known] = {
    "served-prompt-mismatch": Known(
        "error",
        "the prompt that a server feeds is not how the training text begins",
        "choose another `chat_template`; trl has some made for training, such as `chat_template: trl:qwen3_training`",
    ),
    "history-rewritten": Known(
        "info",
        "the chat template rewrites earlier turns, so that each trained turn becomes a sample of its own",
        "nothing; a template made for training, such as trl:qwen3_training, keeps a conversation in one sample",
    ),
    "no-turn-end": Known(
        "error",
        "nothing in the chat template ends an answer, so that the model never learns to stop",
        "choose another `chat_template`, or make its end a token: `special_tokens: {eos_token: ...}`",
    ),
    "template-token-split": Known(
        "warning",
        "marks of the prompt's layout are several tokens in this vocabulary",
        "choose the `chat_template` (or `type`) that the model was made with",
    ),
    "default-system": Known(
        "info",
        "the chat template puts in a system text of its own where a row has none",
        "nothing, if the same template serves; else begin each row with a system turn",
    ),
    "template-date": Known(
        "warning",
        "the chat template writes today's date: the prompt changes from day to day",
        "fix it, as far as the template allows: `chat_template_kwargs: {date_string: 26 Jul 2024}`",
    ),
    "generation-marks-differ": Known(
        "error",
        "the template's own marks of what the model says are not what is trained",
        "correct the `{% generation %}` marks of the template, or choose another `chat_template`",
    ),
}

ROWS: dict[str, Known] = {
    "bad-row": Known(
        "warning",
        "rows that cannot be used are left out",
        "correct the rows, or the keys that name their columns",
    ),
    "nothing-trained": Known(
        "warning",
        "rows of which no token is trained are left out",
        "correct the rows, or what is trained: `roles_to_train`, `train_on_inputs`, training flags",
    ),
    "over-length": Known(
        "warning",
        "samples are longer than sequence_len",
        "raise `sequence_len`, or split the rows; `excess_length_strategy` says what happens to them",
    ),
    "answer-cut": Known(
        "warning",
        "truncation cuts the end of the answer, so that these samples do not teach to stop",
        "raise `sequence_len`, or set `excess_length_strategy: drop`",
    ),
    "end-untrained": Known(
        "warning",
        "the token that ends an answer is not trained",
        "set `train_on_eos: turn`; name further ends of a turn in `eot_tokens`",
    ),
    "end-in-answer": Known(
        "error",
        "the text of an end token stands inside an answer: the model learns to stop there",
        "take it out of the rows, or write it another way",
    ),
    "end-doubled": Known(
        "warning",
        "answers end with the same end token twice",
        "take the end token out of the rows: it is added by itself",
    ),
    "bos-doubled": Known(
        "error",
        "samples begin with two begin tokens",
        "take the begin token out of the rows or of the chat template: the tokenizer adds it",
    ),
    "bos-missing": Known(
        "warning",
        "samples do not begin with the begin token that the tokenizer is used to",
        "choose a `chat_template` that writes it; the model was pretrained with it before every text",
    ),
    "unknown-token": Known(
        "warning",
        "the vocabulary lacks some of the text",
        "replace these characters, or choose a model whose vocabulary has them",
    ),
    "roundtrip-differs": Known(
        "warning",
        "the tokens do not give the text back",
        "look at the rows: the tokenizer changes or drops characters",
    ),
    "control-token-in-text": Known(
        "warning",
        "texts hold the name of a control token, and become that token",
        "take it out of the rows, or write it another way, unless it is meant",
    ),
    "prompt-parts-differ": Known(
        "warning",
        "a server that tokenises the prompt as one text feeds other tokens than were trained",
        "serve with `tunesmith inference`, or use `type: chat_template`, which is tokenised as one text",
    ),
    "boundary-merge": Known(
        "info",
        "prompt and answer together would be other tokens than each alone, as they are trained and served",
        "nothing; tools that tokenise both as one text, such as some benchmarks, see other tokens",
    ),
    "prompt-ends-in-space": Known(
        "warning",
        "the prompt ends in a space, which belongs to the first word of the answer",
        "take the space from the end of the prompt and put it at the start of the answer",
    ),
    "answer-edge-space": Known(
        "warning",
        "answers begin or end with whitespace, which the model learns to write",
        "strip the answers",
    ),
    "answer-glued": Known(
        "info",
        "no space stands between prompt and answer",
        "nothing, if the same layout serves; a space at the start of the answers reads better to the model",
    ),
    "content-dropped": Known(
        "error",
        "the chat template leaves out what a turn says",
        "choose another `chat_template`",
    ),
    "reasoning-dropped": Known(
        "warning",
        "the reasoning of a trained turn does not reach the model",
        "choose a `chat_template` that shows it, name its key with `field_thinking`, or set `split_thinking: true`",
    ),
    "roles-not-alternating": Known(
        "warning",
        "user and assistant do not take turns",
        "correct the rows, or join turns of the same role",
    ),
    "ends-unanswered": Known(
        "info",
        "the last turn is not an answer, and is read by nobody",
        "nothing, or take the turn out",
    ),
    "empty-turn": Known(
        "warning",
        "turns are empty",
        "take the turns or the rows out",
    ),
    "mojibake": Known(
        "warning",
        "texts were decoded with the wrong encoding, such as Ã© for é",
        "read the source as UTF-8; the ftfy package repairs what is there",
    ),
    "replacement-character": Known(
        "warning",
        "texts hold U+FFFD, which stands for what could not be decoded",
        "read the source again in its own encoding",
    ),
    "control-character": Known(
        "warning",
        "texts hold control characters",
        "take them out",
    ),
    "invisible-character": Known(
        "warning",
        "texts hold a byte order mark, a zero-width space or a mark of text direction",
        "take them out, unless they are meant",
    ),
    "decomposed-letters": Known(
        "warning",
        "letters with accents are written as two characters (NFD), which are other tokens than the usual one (NFC)",
        "normalise the texts: unicodedata.normalize('NFC', text)",
    ),
    "secret": Known(
        "warning",
        "texts hold what looks like a key or a token of some service",
        "take them out, and revoke them: a trained model can repeat them",
    ),
    "email-address": Known(
        "info",
        "texts hold e-mail addresses",
        "nothing, if they are public or made up; a trained model can repeat them",
    ),
    "duplicate-row": Known(
        "warning",
        "rows say the same as an earlier one",
        "take them out: they weigh twice",
    ),
    "near-duplicate": Known(
        "info",
        "rows say nearly the same as an earlier one (four fifths of their words in the same order)",
        "look whether they are meant",
    ),
    "leaked-prompt": Known(
        "warning",
        "prompts of the evaluation data are in the training data too, so that the evaluation flatters",
        "take them out of one side",
    ),
}

KNOWN = TOKENIZER | TEMPLATE | ROWS


def finding(
    code: str, detail: str = "", *, severity: Severity | None = None, count: int = 0, hits: Sequence[Hit] = ()
) -> Finding:
    """Return the finding of a code, with what is special about it this time."""
    known = KNOWN[code]
    title = f"{known.title}: {masked(detail)}" if detail else known.title
    return Finding(code, severity or known.severity, title, known.cure, count, tuple(hits))


class Tally:
    """Counts the rows of each finding and keeps the first of them, so that memory does not grow with the data."""

    def __init__(self) -> None:
        self.counts: Counter[str] = Counter()
        self.hits: dict[str, list[Hit]] = {}
        self.file, self.row = "", 0
        self.codes: list[str] = []
        """What was found in the current row."""

    def begin(self, file: str, row: int) -> None:
        """Go on to a row."""
        self.file, self.row, self.codes = file, row, []

    def add(self, code: str, detail: str = "") -> None:
        """Count a finding for the current row, once."""
        if code in self.codes:
            return
        self.codes.append(code)
        self.counts[code] += 1
        hits = self.hits.setdefault(code, [])
        if len(hits) < HITS:
            hits.append(Hit(self.file, self.row, masked(detail)))


def table() -> str:
    """Return the findings as the tables of the documentation."""
    parts = []
    for name, part in (("The tokenizer", TOKENIZER), ("The chat template", TEMPLATE), ("The rows", ROWS)):
        lines = [f"| `{code}` | {known.severity} | {known.title} | {known.cure} |" for code, known in part.items()]
        parts.append("\n".join([f"### {name}\n", "| code | severity | what | cure |", "|---|---|---|---|", *lines]))
    return "\n\n".join(parts)


if __name__ == "__main__":
    print(table())
