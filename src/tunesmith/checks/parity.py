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
from typing import NamedTuple

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
        trained: ids of the training sample: up to the first trained token, or beyond it if that is not `ends`.
        ends: `trained` ends with the prompt.
        fed: ids that inference feeds, or None where it does not ask here.
        request: what a client sends.
    """

    file: str
    row: int
    trained: list[int]
    ends: bool
    fed: list[int] | None
    request: Request

    def differs(self, ids: list[int]) -> list[int] | None:
        """Return the trained ids to hold against `ids`, or None if they are the same."""
        count = len(self.trained) if self.ends else min(len(ids), len(self.trained))
        trained = self.trained[:count]
        return None if trained == (ids if self.ends else ids[:count]) else trained


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
    prompts: list[Prompt] = []
    for spec in specs:
        for item in (item for batch in encoded_rows(spec, tokenizer, rows) for item in batch):
            if isinstance(item, EncodedRow):
                prompts += proof.read(item, spec, config)
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
            found = _server(config, server, folder, Path(scratch), stack)
            if isinstance(found, Server):
                proof.ask(prompts, found)
            else:
                notes.append(finding("parity-server-skipped", found))
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

    def read(self, item: EncodedRow, spec: FormatSpec, config: Config) -> list[Prompt]:
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

        loaders = {"saved tokenizer": PreTrainedTokenizerFast, "AutoTokenizer": AutoTokenizer}
        saved = {name: loader.from_pretrained(str(folder)) for name, loader in loaders.items()}
        for prompt in prompts:
            if prompt.fed is not None:
                self._against("parity-inference", "inference", prompt, prompt.fed)
            for name, tokenizer in saved.items():
                if prompt.request.messages is None:
                    side = "text server" if name == "saved tokenizer" else f"text server ({name})"
                    self._against("parity-text", side, prompt, tokenizer(prompt.request.text)["input_ids"])
                else:
                    self._against("parity-tokenizer", name, prompt, _templated(prompt.request, tokenizer))

    def ask(self, prompts: Sequence[Prompt], server: Server) -> None:
        """Compare training with what a server feeds, for prompts of unlike shapes first."""
        seen: Counter[str] = Counter()
        order: list[tuple[int, int, Prompt]] = []
        for prompt in prompts:
            messages = prompt.request.messages
            shape = (
                "text" if messages is None else str([sorted(message | {message["role"]: 0}) for message in messages])
            )
            seen[shape] += 1
            order.append((seen[shape], len(order), prompt))
        name = "transformers serve" if server.seen else f"server {server.url}"
        with progress(f"asking {name}", total=min(SERVED, len(order)), unit="prompts") as advance:
            for _, _, prompt in sorted(order)[:SERVED]:
                self._against("parity-server", name, prompt, server.feeds(prompt.request))
                advance(1)

    def _against(self, code: str, name: str, prompt: Prompt, found: list[int] | int | str) -> None:
        """Write down if `found` is not what is trained: ids, their number, or why there are none."""
        self.sides[name] += 1
        if isinstance(found, str):
            self._hit(code, prompt.file, prompt.row, f"{name} refuses: {found}")
        elif isinstance(found, int):
            if prompt.ends and found != len(prompt.trained):
                self._hit(
                    code, prompt.file, prompt.row, f"{name} counts {found} tokens, training {len(prompt.trained)}"
                )
        elif (trained := prompt.differs(found)) is not None:
            shown = show_parting(("training", trained), (name, found), self.tokenizer)
            place = first_difference(trained, found)
            self._hit(code, prompt.file, prompt.row, f"differs at token {place} (training vs {name})\n{shown}")

    def _hit(self, code: str, file: str, row: int, detail: str) -> None:
        self.hits.setdefault(code, {}).setdefault((file, row), Hit(file, row, mask_secrets(detail)))


def _borders(labels: Sequence[int]) -> list[int]:
    """Return the places where training begins."""
    return [place for place, label in enumerate(labels) if label >= 0 and (place == 0 or labels[place - 1] < 0)]


def _chat_prompts(item: EncodedRow, pieces: list[Example], spec: FormatSpec, tokenizer: Tokenizer) -> Iterator[Prompt]:
    """Yield the prompt of each trained answer of a conversation.

    Where the trained stretches are as many as the answers, each prompt must end where its stretch begins. Otherwise, as
    with `train_on_inputs` or flags of parts, the sample must go on as the prompt does.
    """
    row = item.row
    turns, tools, _ = read_chat(row.values, spec)
    wire = to_wire(turns, spec.dataset)
    trained = trained_turns(turns, spec)
    asked = [i for i, what in trained.items() if turns[i].role == "assistant" and what.content and i > 0]
    last = max(i for i, turn in enumerate(turns) if turn.role == "assistant")
    stretches = [(piece, place) for piece in pieces for place in _borders(piece.labels)]
    paired = len(stretches) == len(asked) and not spec.train_on_inputs
    alone = dict(zip(trained, pieces, strict=True)) if len(pieces) == len(trained) else {}
    for number, index in enumerate(asked):
        piece, place = stretches[number] if paired else (alone.get(index, pieces[0]), None)
        messages = wire[:index]
        fed: list[int] | None = None
        if index == last and (found := question(row.values, spec, tokenizer)):
            fed = found.input_ids
        elif not tools:
            fed = conversation_prompt(messages, spec, tokenizer)
        request = Request(messages, tools, "")
        yield Prompt(row.file, row.number, piece.input_ids[:place], place is not None, fed, request)


def _text_prompts(item: EncodedRow, pieces: list[Example], spec: FormatSpec, tokenizer: Tokenizer) -> Iterator[Prompt]:
    """Yield the prompts of a row that is a text: up to each place where training begins, or all of a text to go on."""
    row, rendered = item.row, item.rendered[0]
    if len(item.rendered) > 1 or not isinstance(rendered, Rendered):
        return
    segments, ids = rendered.segments, pieces[0].input_ids
    places = [
        i
        for i, segment in enumerate(segments)
        if segment.train and segment.text and (segment.header or not (i and segments[i - 1].train))
    ]
    if any(segment.label is not None for segment in segments) or not places:
        return
    if rendered.overflow:
        whole = conversation_prompt([{"role": "user", "content": rendered.text}], spec, tokenizer)
        yield Prompt(row.file, row.number, _endless(ids, tokenizer), False, whole, Request(None, None, rendered.text))
        return
    borders = _borders(pieces[0].labels)
    found: list[Prompt] = []
    for number, index in enumerate(places):
        ends = len(borders) == len(places)
        if text := _sent_text(rendered, index, tokenizer):
            trained = ids[: borders[number]] if ends else ids
            found.append(Prompt(row.file, row.number, trained, ends, None, Request(None, None, text)))
    asked = question(row.values, spec, tokenizer)
    if asked:
        last = max(i for i, segment in enumerate(segments) if segment.train)
        if last not in places:  # it begins amid what is trained
            request = Request(None, None, _sent_text(rendered, last, tokenizer))
            found.append(Prompt(row.file, row.number, ids, False, asked.input_ids, request))
        elif found:  # an empty answer is trained, but not asked for: the nearest prompt is the one that was asked
            count = len(asked.input_ids)
            nearest = min(range(len(found)), key=lambda i: abs(len(found[i].trained) - count))
            found[nearest] = found[nearest]._replace(fed=asked.input_ids)
    yield from found


def _endless(ids: list[int], tokenizer: Tokenizer) -> list[int]:
    return ids[:-1] if ids[-1] == tokenizer.eos_token_id else ids


def _sent_text(rendered: Rendered, index: int, tokenizer: Tokenizer) -> str:
    """Return the text before a segment as a client would send it: without the begin token, which the server adds."""
    segments = [*rendered.segments[:index], Segment(rendered.segments[index].header, False)]
    text = "".join(
        segment.text + (tokenizer.eos_token or "") * (segment.eos_count if segment.text else 0) for segment in segments
    )
    begin = tokenizer.bos_token or ""
    if adds_bos(tokenizer):
        return text.removeprefix(begin)
    return begin + text if rendered.bos == "always" and text else text


def _templated(request: Request, tokenizer: Tokenizer) -> list[int] | str:
    """Return the ids of a conversation by the tokenizer's own template, or why it refuses."""
    from jinja2 import TemplateError

    try:
        found = tokenizer.apply_chat_template(
            list(request.messages or ()),
            tools=request.tools,
            add_generation_prompt=True,
            tokenize=True,
            return_dict=True,
        )
    except (TemplateError, TypeError, ValueError, LookupError) as error:  # a template is a program
        return f"{type(error).__name__}: {error}"
    return list(found["input_ids"])


def _as_exported(base: Path | None, tokenizer: Tokenizer, folder: Path) -> None:
    """Fill a folder as an export would: the base model's files, and the tokenizer as it is saved."""
    folder.mkdir()
    if base and (base / "config.json").is_file():
        own = {file for pattern in TOKENIZER_FILES for file in base.glob(pattern)}
        for file in set(base.iterdir()) - own:
            if file.is_file():
                (folder / file.name).symlink_to(file.resolve())
    tokenizer.save_pretrained(str(folder))


def _server(config: Config, wanted: bool | str, folder: Path, scratch: Path, stack: ExitStack) -> Server | str:
    """Return the server to ask, or why there is none."""
    if isinstance(wanted, str):
        return server_at(wanted)
    from transformers.utils import import_utils

    output = Path(config.training.output_dir)
    exported = next((place for place in (output / "merged", output) if (place / "config.json").is_file()), folder)
    size = sum(file.stat().st_size for pattern in ("*.safetensors", "*.bin") for file in exported.glob(pattern))
    if not import_utils.is_serve_available():
        return "`transformers serve` is not installed: pip install 'transformers[serving]'"
    if not size or size > LARGEST:
        return f"the weights are {size / 2**30:.0f} GiB" if size else "the model's weights are not in a folder here"
    if exported != folder:
        note(f"parity: serving the exported model in {exported}")
    return stack.enter_context(transformers_serve(exported, scratch))
