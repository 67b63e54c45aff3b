"""The parity proof: the user's own rows through every way to make a prompt, which must all give the trained tokens.

Training is the standard: the ids of a sample up to where it is trained. Against it stand `inference`, the tokenizer
that is saved beside the weights (as two loaders read it), and a server.
"""

import copy
import tempfile
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, NamedTuple

from tunesmith.checks.caret import show_parting
from tunesmith.checks.catalogue import HITS, finding
from tunesmith.checks.manifest import dataset_specs, served_as_trained
from tunesmith.checks.report import Finding, Hit
from tunesmith.checks.server import Request, Server, server_at, transformers_serve
from tunesmith.checks.text import mask_secrets
from tunesmith.checks.tokenizer import folder_of
from tunesmith.data.formats.chat import read_chat, trained_turns
from tunesmith.data.formats.format import FormatSpec
from tunesmith.data.formats.prompt_completion import to_wire
from tunesmith.data.prefix import first_difference
from tunesmith.data.question import conversation_prompt, question
from tunesmith.data.samples import EncodedRow, encoded_rows, fitted
from tunesmith.data.tokenizer import Tokenizer, adds_bos
from tunesmith.data.types import Example, Rendered, Segment
from tunesmith.errors import DataError
from tunesmith.log import note, progress
from tunesmith.sections import Config

SERVED = 20
"""Prompts sent to a server: those of unlike shapes first."""
LARGEST = 4 * 2**30
"""Bytes of weights up to which a server is started here."""
TOKENIZER_FILES = (
    "tokenizer*",
    "special_tokens_map*",
    "added_tokens*",
    "chat_template*",
    "additional_chat*",
    "vocab*",
    "merges*",
)


class Prompt(NamedTuple):
    """A prompt in the user's data.

    Attributes:
        file: file of its row.
        row: number of its row.
        trained_ids: ids of the training sample: up to the first trained token, or beyond it if that is not `ends`.
        ends: `trained_ids` ends with the prompt.
        inference_ids: ids that inference feeds, or None where it does not ask here.
        request: what a client sends.
    """

    file: str
    row: int
    trained_ids: list[int]
    ends: bool
    inference_ids: list[int] | None
    request: Request

    def differs(self, ids: list[int]) -> list[int] | None:
        """Return the trained ids to hold against `ids`, or None if they are the same."""
        count = len(self.trained_ids) if self.ends else min(len(ids), len(self.trained_ids))
        expected_ids = self.trained_ids[:count]
        return None if expected_ids == (ids if self.ends else ids[:count]) else expected_ids


def check_parity(
    config: Config, tokenizer: Tokenizer, *, rows: int = 50, server: bool | str = True, model_folder: str | None = None
) -> list[Finding]:
    """Return where the prompts of the first rows become other tokens than in training; empty if nowhere.

    Args:
        config: the config.
        tokenizer: the model's.
        rows: rows of each dataset.
        server: ask `transformers serve` on the exported model, or on the base model with the tokenizer as it would be
            saved; or the server at this address; or none.
        model_folder: folder of the base model; by default the tokenizer's.

    Raises:
        UserError: a dataset is not there, or a server does not answer.
    """
    specs = dataset_specs(config, tokenizer)
    tokenizer = copy.deepcopy(tokenizer)  # the copy gets the chat template that is trained
    served_as_trained(config, tokenizer)
    proof = _Proof(tokenizer)
    prompts = [prompt for spec in specs for prompt in proof.read(spec, config, rows)]
    if not prompts and not proof.hits:
        return [finding("parity-no-prompt")]
    notes = []
    if tokenizer.chat_template and not any(spec.template for spec in specs):
        notes.append(finding("parity-untrained-template"))
    with tempfile.TemporaryDirectory() as scratch, ExitStack() as stack:
        folder = Path(scratch) / "model"
        _as_exported(folder_of(model_folder or tokenizer.name_or_path, config.model), tokenizer, folder)
        proof.compare(prompts, folder)
        if server:
            server_or_reason = _server(config, server, folder, Path(scratch), stack)
            if isinstance(server_or_reason, Server):
                proof.ask(prompts, server_or_reason)
            else:
                notes.append(finding("parity-server-skipped", server_or_reason))
    if not proof.hits:
        sides = [f"{name} ({n} of them)" if n < len(prompts) else name for name, n in proof.sides.items()]
        note(f"parity: {len(prompts)} prompts have the same tokens in training, {', '.join(sides)}")
    return [*proof.findings(), *notes]


class _Proof:
    """What was compared, and where it differs."""

    def __init__(self, tokenizer: Tokenizer) -> None:
        self.tokenizer = tokenizer
        self.sides: Counter[str] = Counter()
        self.hits: dict[str, dict[tuple[str, int], Hit]] = {}

    def findings(self) -> list[Finding]:
        """Return a finding for each way in which prompts differ, with its rows."""
        return [finding(code, hits=list(hits.values())[:HITS], count=len(hits)) for code, hits in self.hits.items()]

    def read(self, spec: FormatSpec, config: Config, rows: int) -> Iterator[Prompt]:
        """Yield the prompts of the first rows of a dataset."""
        for batch in encoded_rows(spec, self.tokenizer, rows):
            for item in batch:
                if isinstance(item, EncodedRow):
                    yield from self._read_row(item, spec, config)

    def _read_row(self, item: EncodedRow, spec: FormatSpec, config: Config) -> list[Prompt]:
        """Return the prompts of a row that is trained."""
        pieces = [piece for pieces in item.examples if not isinstance(pieces, str) for piece in pieces]
        if any(isinstance(pieces, str) for pieces in item.examples):
            return []
        if not pieces or any(isinstance(fitted(piece, config.data), str) for piece in pieces):
            return []
        find = _chat_prompts if spec.dataset.kind == "chat_template" else _text_prompts
        try:
            return list(find(item, pieces, spec, self.tokenizer))
        except DataError as error:
            self._hit("parity-inference", item.row.file, item.row.number, f"inference refuses the row: {error}")
            return []

    def compare(self, prompts: Sequence[Prompt], folder: Path) -> None:
        """Compare training with inference, and with the tokenizer that was saved to `folder`."""
        from transformers import AutoTokenizer, PreTrainedTokenizerFast

        loaders: dict[str, Any] = {"saved tokenizer": PreTrainedTokenizerFast, "AutoTokenizer": AutoTokenizer}
        saved_tokenizers = {name: loader.from_pretrained(str(folder)) for name, loader in loaders.items()}
        for prompt in prompts:
            if prompt.inference_ids is not None:
                self._against("parity-inference", "inference", prompt, prompt.inference_ids)
            for name, tokenizer in saved_tokenizers.items():
                if prompt.request.messages is None:
                    side = "text server" if name == "saved tokenizer" else f"text server ({name})"
                    self._against("parity-text", side, prompt, tokenizer(prompt.request.text)["input_ids"])
                else:
                    self._against("parity-tokenizer", name, prompt, _templated(prompt.request, tokenizer))

    def ask(self, prompts: Sequence[Prompt], server: Server) -> None:
        """Compare training with what a server feeds, for prompts of unlike shapes first."""
        shape_counts: Counter[str] = Counter()
        order: list[tuple[int, int, Prompt]] = []
        for prompt in prompts:
            messages = prompt.request.messages
            shape = (
                "text" if messages is None else str([sorted(message | {message["role"]: 0}) for message in messages])
            )
            shape_counts[shape] += 1
            order.append((shape_counts[shape], len(order), prompt))
        name = "transformers serve" if server.ids_file else f"server {server.url}"
        with progress(f"asking {name}", total=min(SERVED, len(order)), unit="prompts") as advance:
            for _, _, prompt in sorted(order)[:SERVED]:
                self._against("parity-server", name, prompt, server.feeds(prompt.request))
                advance(1)

    def _against(self, code: str, name: str, prompt: Prompt, ids: list[int] | int | str) -> None:
        """Write down if `ids` is not what is trained: ids, their number, or why there are none."""
        self.sides[name] += 1
        if isinstance(ids, str):
            self._hit(code, prompt.file, prompt.row, f"{name} refuses: {ids}")
        elif isinstance(ids, int):
            if prompt.ends and ids != len(prompt.trained_ids):
                self._hit(
                    code, prompt.file, prompt.row, f"{name} counts {ids} tokens, training {len(prompt.trained_ids)}"
                )
        elif (trained_ids := prompt.differs(ids)) is not None:
            comparison = show_parting(("training", trained_ids), (name, ids), self.tokenizer)
            index = first_difference(trained_ids, ids)
            self._hit(code, prompt.file, prompt.row, f"differs at token {index} (training vs {name})\n{comparison}")

    def _hit(self, code: str, file: str, row: int, detail: str) -> None:
        self.hits.setdefault(code, {}).setdefault((file, row), Hit(file, row, mask_secrets(detail)))


def _trained_starts(labels: Sequence[int]) -> list[int]:
    """Return the positions where training starts."""
    return [
        position for position, label in enumerate(labels) if label >= 0 and (position == 0 or labels[position - 1] < 0)
    ]


def _chat_prompts(item: EncodedRow, pieces: list[Example], spec: FormatSpec, tokenizer: Tokenizer) -> Iterator[Prompt]:
    """Yield the prompt of each trained answer of a conversation."""
    row = item.row
    turns, tools, _ = read_chat(row.values, spec)
    wire = to_wire(turns, spec.dataset)
    trained = trained_turns(turns, spec)
    answers = [i for i, turn in trained.items() if turns[i].role == "assistant" and turn.content and i > 0]
    last = max(i for i, turn in enumerate(turns) if turn.role == "assistant")
    samples = _samples_of(answers, list(trained), pieces, spec)
    for index, (sample, start) in zip(answers, samples, strict=True):
        messages = wire[:index]
        inference_ids: list[int] | None = None
        if index == last and (prompt := question(row.values, spec, tokenizer)):
            inference_ids = prompt.input_ids
        elif not tools:
            inference_ids = conversation_prompt(messages, spec, tokenizer)
        trained_ids = sample.input_ids[:start]
        request = Request(messages, tools, "")
        yield Prompt(row.file, row.number, trained_ids, start is not None, inference_ids, request)


def _samples_of(
    answers: Sequence[int], trained: Sequence[int], pieces: Sequence[Example], spec: FormatSpec
) -> Sequence[tuple[Example, int | None]]:
    """Return for each answer its sample, and the position where it starts there.

    Where the trained stretches are as many as the answers, each prompt must end where its stretch starts. Otherwise, as
    with `train_on_inputs` or flags of parts, the sample must go on as the prompt does, and the position is None.

    Args:
        answers: indexes of the turns that are answers in the loss.
        trained: indexes of all turns in the loss.
        pieces: the samples of the conversation.
        spec: settings of the dataset.
    """
    stretches = [(piece, start) for piece in pieces for start in _trained_starts(piece.labels)]
    if len(stretches) == len(answers) and not spec.train_on_inputs:
        return stretches
    samples = dict(zip(trained, pieces, strict=True)) if len(pieces) == len(trained) else {}
    return [(samples.get(index, pieces[0]), None) for index in answers]


def _text_prompts(item: EncodedRow, pieces: list[Example], spec: FormatSpec, tokenizer: Tokenizer) -> Iterator[Prompt]:
    """Yield the prompts of a row that is a text: up to each start of training, or all of a text to go on."""
    row, rendered = item.row, item.rendered[0]
    if len(item.rendered) > 1 or not isinstance(rendered, Rendered):
        return
    segments, ids = rendered.segments, pieces[0].input_ids
    answers = _answers(segments)
    if any(segment.label is not None for segment in segments) or not answers:
        return
    if rendered.overflow:
        prompt_ids = conversation_prompt([{"role": "user", "content": rendered.text}], spec, tokenizer)
        request = Request(None, None, rendered.text)
        yield Prompt(row.file, row.number, _without_eos(ids, tokenizer), False, prompt_ids, request)
        return
    prompts = list(_segment_prompts(item, rendered, answers, pieces[0], tokenizer))
    last = max(i for i, segment in enumerate(segments) if segment.train)
    prompt = question(row.values, spec, tokenizer)
    if prompt and last not in answers:  # it starts amid what is trained
        request = Request(None, None, _sent_text(rendered, last, tokenizer))
        prompts.append(Prompt(row.file, row.number, ids, False, prompt.input_ids, request))
    elif prompt and prompts:
        _set_inference_ids(prompts, prompt.input_ids)
    yield from prompts


def _answers(segments: Sequence[Segment]) -> list[int]:
    """Return the indexes of the segments where training starts."""
    return [
        i
        for i, segment in enumerate(segments)
        if segment.train and segment.text and (segment.header or not (i and segments[i - 1].train))
    ]


def _set_inference_ids(prompts: list[Prompt], ids: list[int]) -> None:
    """Set the ids that inference feeds at the prompt of the nearest length.

    The last one is not always it, because an empty answer is trained, but not asked for.
    """
    nearest = min(range(len(prompts)), key=lambda i: abs(len(prompts[i].trained_ids) - len(ids)))
    prompts[nearest] = prompts[nearest]._replace(inference_ids=ids)


def _segment_prompts(
    item: EncodedRow, rendered: Rendered, answers: Sequence[int], sample: Example, tokenizer: Tokenizer
) -> Iterator[Prompt]:
    """Yield the prompt before each of the segments `answers`, as a client would send it."""
    starts = _trained_starts(sample.labels)
    ends = len(starts) == len(answers)
    for number, index in enumerate(answers):
        if text := _sent_text(rendered, index, tokenizer):
            trained_ids = sample.input_ids[: starts[number]] if ends else sample.input_ids
            yield Prompt(item.row.file, item.row.number, trained_ids, ends, None, Request(None, None, text))


def _without_eos(ids: list[int], tokenizer: Tokenizer) -> list[int]:
    return ids[:-1] if ids[-1] == tokenizer.eos_token_id else ids


def _sent_text(rendered: Rendered, index: int, tokenizer: Tokenizer) -> str:
    """Return the text before a segment as a client would send it: without the BOS token, which the server adds."""
    segments = [*rendered.segments[:index], Segment(rendered.segments[index].header, False)]
    text = "".join(
        segment.text + (tokenizer.eos_token or "") * (segment.eos_count if segment.text else 0) for segment in segments
    )
    bos = tokenizer.bos_token or ""
    if adds_bos(tokenizer):
        return text.removeprefix(bos)
    return bos + text if rendered.bos == "always" and text else text


def _templated(request: Request, tokenizer: Tokenizer) -> list[int] | str:
    """Return the ids of a conversation by the tokenizer's own template, or why it refuses."""
    from jinja2 import TemplateError

    try:
        encoding = tokenizer.apply_chat_template(
            list(request.messages or ()),
            tools=request.tools,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
        )
    except (TemplateError, TypeError, ValueError, LookupError) as error:  # a template is a program
        return f"{type(error).__name__}: {error}"
    return list(encoding["input_ids"])


def _as_exported(base: Path | None, tokenizer: Tokenizer, folder: Path) -> None:
    """Fill a folder as an export would: the base model's files, and the tokenizer as it is saved."""
    folder.mkdir()
    if base and (base / "config.json").is_file():
        tokenizer_files = {file for pattern in TOKENIZER_FILES for file in base.glob(pattern)}
        for file in set(base.iterdir()) - tokenizer_files:
            if file.is_file():
                (folder / file.name).symlink_to(file.resolve())
    tokenizer.save_pretrained(str(folder))


def _server(config: Config, address: bool | str, folder: Path, scratch: Path, stack: ExitStack) -> Server | str:
    """Return the server to ask, or why there is none."""
    if isinstance(address, str):
        return server_at(address)
    from transformers.utils import import_utils

    output = Path(config.training.output_dir)
    exported = next((path for path in (output / "merged", output) if (path / "config.json").is_file()), folder)
    size = sum(file.stat().st_size for pattern in ("*.safetensors", "*.bin") for file in exported.glob(pattern))
    if not import_utils.is_serve_available():
        return "`transformers serve` is not installed: pip install 'transformers[serving]'"
    if not size or size > LARGEST:
        return f"the weights are {size / 2**30:.0f} GiB" if size else "the model's weights are not in a folder here"
    if exported != folder:
        note(f"parity: serving the exported model in {exported}")
    return stack.enter_context(transformers_serve(exported, scratch))
