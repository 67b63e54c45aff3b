"""Loads a tokenizer without torch, and finds the chat template that a dataset uses."""

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from importlib.util import find_spec
from pathlib import Path
from typing import Any, cast

from tunesmith import hub
from tunesmith.data.sentencepiece import from_sentencepiece, has_only_sentencepiece
from tunesmith.data.tokenizer_type import Tokenizer as Tokenizer
from tunesmith.errors import ConfigError, DataError, ModelError, did_you_mean
from tunesmith.log import note
from tunesmith.references import resolve_file
from tunesmith.sections import ModelSection, SpecialTokens

NO_EOS = "the tokenizer has no EOS token; set `special_tokens: {eos_token: ...}` to the token that ends an answer"


def eos_of(tokenizer: Tokenizer) -> tuple[str, int]:
    """Return the EOS token and its id.

    Raises:
        ConfigError: the tokenizer has none.
    """
    if tokenizer.eos_token is None or tokenizer.eos_token_id is None:
        raise ConfigError(NO_EOS)
    return tokenizer.eos_token, tokenizer.eos_token_id


HUB_FILES = ["tokenizer*", "special_tokens_map.json", "added_tokens.json", "*.jinja"]
"""What is fetched of a Hub repository that has no tokenizer.json."""

HEED_BOS_FLAG = {"LlamaTokenizer", "CodeLlamaTokenizer", "GemmaTokenizer", "CohereTokenizer"}
"""Classes for which `add_bos_token` counted in transformers 4, whatever tokenizer.json does."""


def load_tokenizer(
    name: str,
    *,
    special_tokens: SpecialTokens | None = None,
    tokens: Sequence[str] = (),
    renamed: Mapping[int, str] | None = None,
    revision: str | None = None,
    trust_remote_code: bool = False,
) -> Tokenizer:
    """Return the fast tokenizer of a folder or Hub repository, straight from its tokenizer.json or tokenizer.model.

    `LlamaTokenizer` of transformers 5 rebuilds SentencePiece models with other ids than they were trained with; the
    plain fast tokenizer keeps them. `add_bos_token` of tokenizer_config.json holds for the classes that always heeded
    it, also where transformers 5 does not.

    New `special_tokens` and `tokens` are added to the vocabulary; `renamed` gives added tokens other texts, by id.

    Raises:
        ModelError: there is no tokenizer at `name`.
        ConfigError: an id in `renamed` is that of no added token, or its text is another token.
    """
    folder, tokenizer = _load_files(name, revision, trust_remote_code)
    heeds = str(settings_in(folder).get("tokenizer_class")).removesuffix("Fast") in HEED_BOS_FLAG
    if heeds and bos_disagrees(tokenizer, folder):
        tokenizer.add_bos_token = not adds_bos(tokenizer)
        note(f"{name}: add_bos_token is {tokenizer.add_bos_token} by tokenizer_config.json, against tokenizer.json")
    if renamed:
        tokenizer = _rename_tokens(tokenizer, renamed)
    _add_tokens(tokenizer, special_tokens or SpecialTokens(), tokens)
    if tokenizer.pad_token is None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def vocabulary_changes(section: ModelSection) -> dict[str, Any]:
    """Return the arguments of `load_tokenizer` by which a config changes the vocabulary."""
    return {
        "special_tokens": section.special_tokens,
        "tokens": section.tokens,
        "renamed": section.added_tokens_overrides,
    }


def _load_files(name: str, revision: str | None, trust_remote_code: bool) -> tuple[Path, Tokenizer]:
    """Return the folder of a tokenizer's files, and the tokenizer as they describe it."""
    from transformers import PreTrainedTokenizerFast

    local = Path(name).is_dir()
    if not local and name.startswith((".", "/", "~")):
        raise ModelError(f"{name}: no such folder")
    files = ("tokenizer.json", "tokenizer.model", "tokenizer_config.json")
    if local and not any((Path(name) / file).exists() for file in files):
        raise ModelError(f"{name} holds no tokenizer (no tokenizer.json); set `tokenizer_config`")
    where: dict[str, Any] = {"revision": revision, "local_files_only": local or not hub.is_reachable()}
    try:
        folder = Path(name) if local else _hub_folder(name, where)
        if has_only_sentencepiece(folder):
            return folder, from_sentencepiece(folder, settings_in(folder))
        return folder, cast(Tokenizer, PreTrainedTokenizerFast.from_pretrained(name, **where))
    except ModelError:
        raise
    except (OSError, ValueError) as error:
        return Path(name), _converted(name, where, trust_remote_code, error)


def _add_tokens(tokenizer: Tokenizer, special_tokens: SpecialTokens, tokens: Sequence[str]) -> None:
    """Set special tokens and add ordinary ones; in Axolotl's order, so that new ones have the same ids."""
    from tokenizers import AddedToken

    changes = special_tokens.model_dump(exclude_none=True)
    further = changes.pop("additional_special_tokens")
    if changes:
        tokenizer.add_special_tokens(changes)
    added = {str(token) for token in tokenizer.added_tokens_decoder.values()}
    tokenizer.add_tokens([AddedToken(token, normalized=False) for token in tokens if token not in added])
    if further:
        tokenizer.add_special_tokens({"extra_special_tokens": further}, replace_extra_special_tokens=False)


def _rename_tokens(tokenizer: Tokenizer, renamed: Mapping[int, str]) -> Tokenizer:
    """Return the tokenizer with other texts for some added tokens, wherever its files name them."""
    from transformers import PreTrainedTokenizerFast

    texts = {index: str(token) for index, token in tokenizer.added_tokens_decoder.items()}
    known = tokenizer.get_vocab()
    new = {index: text for index, text in renamed.items() if texts.get(index) != text}
    for index, text in new.items():
        key = f"`added_tokens_overrides.{index}: {text}`"
        if index not in texts:
            some = ", ".join(f"{number} {name}" for number, name in list(texts.items())[-5:])
            raise ConfigError(f"{key}: {index} is no added token; such are {some or 'none here'}")
        if text in known or list(new.values()).count(text) > 1:
            raise ConfigError(f"{key}: that text is a token already ({known.get(text, 'given twice')})")
    with tempfile.TemporaryDirectory() as folder:
        for path in map(Path, tokenizer.save_pretrained(folder)):
            if path.suffix == ".json":
                content = path.read_text(encoding="utf-8")
                for index, text in new.items():
                    old, now = (json.dumps(item, ensure_ascii=False) for item in (texts[index], text))
                    content = content.replace(old, now)
                path.write_text(content, encoding="utf-8")
        changed: Tokenizer = PreTrainedTokenizerFast.from_pretrained(folder)
    changed.name_or_path = tokenizer.name_or_path
    return changed


def _converted(name: str, where: dict[str, Any], trust_remote_code: bool, first: Exception) -> Tokenizer:
    """Load a tokenizer that has no `tokenizer.json`, which needs transformers' converters and torch."""
    from transformers import AutoTokenizer

    try:
        return cast(Tokenizer, AutoTokenizer.from_pretrained(name, trust_remote_code=trust_remote_code, **where))
    except (OSError, ValueError) as error:
        if Path(name).is_dir():
            raise ModelError(f"the tokenizer in {name} does not load: {first}") from error
        raise ModelError(f"the tokenizer of `{name}` {hub.why_not(error)}") from error


def _hub_folder(name: str, where: dict[str, Any]) -> Path:
    """Return the folder in the Hub's cache that holds a repository's tokenizer.json, or what it has in its place."""
    from huggingface_hub import hf_hub_download, snapshot_download
    from huggingface_hub.errors import EntryNotFoundError

    try:
        return Path(hf_hub_download(name, "tokenizer.json", **where)).parent
    except EntryNotFoundError:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES, **where))


def settings_in(folder: Path) -> dict[str, Any]:
    """Return what tokenizer_config.json of a folder holds; nothing if there is none."""
    file = folder / "tokenizer_config.json"
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def adds_bos(tokenizer: Tokenizer) -> bool:
    """Whether the tokenizer puts its begin token before a text by itself."""
    ids = tokenizer("x").input_ids
    return tokenizer.bos_token_id is not None and bool(ids) and ids[0] == tokenizer.bos_token_id


def bos_disagrees(tokenizer: Tokenizer, folder: Path | None = None) -> bool:
    """Whether `add_bos_token` in tokenizer_config.json says otherwise than what the tokenizer does.

    Args:
        tokenizer: it.
        folder: where the file is; the folder that the tokenizer was loaded from if None.
    """
    flag = settings_in(folder or Path(tokenizer.name_or_path or "/")).get("add_bos_token")
    return flag is not None and tokenizer.bos_token_id is not None and bool(flag) != adds_bos(tokenizer)


@dataclass(frozen=True)
class ChatTemplate:
    """A chat template bound to its tokenizer.

    Attributes:
        text: the Jinja source.
        stops: texts that can end a turn: the end token and every other special token of the vocabulary.
        eot_tokens: texts that end a turn by the config's word, besides what ends an answer in the template.
        settings: `chat_template_kwargs`, such as {enable_thinking: false}.
        learnt: what `formats/chat.py` found out about the text between turns, so that it is found out once.
    """

    tokenizer: Tokenizer
    text: str
    stops: tuple[str, ...]
    eot_tokens: tuple[str, ...] = ()
    settings: dict[str, Any] = field(default_factory=dict)
    learnt: dict[Any, Any] = field(default_factory=dict, compare=False, repr=False)

    def render(
        self,
        messages: Sequence[dict[str, Any]],
        *,
        add_generation_prompt: bool = False,
        continue_final_message: bool = False,
        tools: list[Any] | None = None,
    ) -> str:
        """Return the conversation as text; with `continue_final_message`, up to the last word of its last message.

        Raises:
            DataError: the template refuses the conversation.
        """
        options = {"tools": tools, "add_generation_prompt": add_generation_prompt, **self.settings}
        if continue_final_message:
            options["continue_final_message"] = True
        try:
            return str(
                self.tokenizer.apply_chat_template(list(messages), chat_template=self.text, tokenize=False, **options)
            )
        except Exception as error:  # a template is a program: it may fail in any way
            raise DataError(f"the chat template refuses the conversation: {error}") from None

    def ends(self) -> tuple[str, ...]:
        """Return the texts that end a turn in this template: what ends an answer, and the end token."""
        if "ends" not in self.learnt:
            try:
                probed = self.turn_end()
            except DataError:  # a template may ask for more than a question and an answer, such as tools
                probed = None
            found = (probed, self.tokenizer.eos_token, *self.eot_tokens)
            self.learnt["ends"] = tuple(dict.fromkeys(token for token in found if token))
        return tuple(self.learnt["ends"])

    def control_tokens(self) -> set[str]:
        """Return the special tokens that the template itself writes around messages, and those that end a turn."""
        if "control" not in self.learnt:
            messages = [{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}]
            texts = []
            for conversation in (messages, [{"role": "system", "content": "system"}, *messages]):
                try:
                    texts += [self.render(conversation), self.render(conversation[:-1], add_generation_prompt=True)]
                except DataError:  # a template may refuse a system message, or ask for more than a question
                    continue
            self.learnt["control"] = {
                *self.ends(),
                *(stop for stop in self.stops if any(stop in text for text in texts)),
            }
        return set(self.learnt["control"])

    def turn_end(self) -> str | None:
        """Return the token that ends an answer in this template, or None if it has none."""
        text = self.render([{"role": "user", "content": "question"}, {"role": "assistant", "content": "answer"}])
        if "answer" not in text:
            return None
        rest = text[text.rindex("answer") + len("answer") :]
        found = [(rest.find(stop), stop) for stop in self.stops if stop in rest]
        return min(found)[1] if found else None


def chat_template(
    tokenizer: Tokenizer,
    name: str | None,
    jinja: str | None,
    source: str,
    *,
    settings: dict[str, Any] | None = None,
    eot_tokens: Sequence[str] = (),
) -> ChatTemplate:
    """Return the template that `name` stands for: `tokenizer_default` (also if None), `jinja`, or a named one.

    `trl:NAME` is the template of that name in the trl package, such as `trl:qwen3_training`.

    Raises:
        ConfigError: the name is unknown, or the tokenizer has no template.
    """
    name = name or ("jinja" if jinja else "tokenizer_default")
    fallback = re.fullmatch(r"tokenizer_default_fallback_(\w+)", name)
    if fallback:
        name = "tokenizer_default" if tokenizer.chat_template else fallback[1]
    if name == "tokenizer_default":
        text = _own_template(tokenizer)
    elif name == "jinja":
        text = _template_text(jinja or "", source)
    elif name in named_templates():
        text = named_templates()[name]
    elif name.startswith("trl:"):
        text = _trl_template(name.removeprefix("trl:"))
    elif name in TOO_LONG:
        raise ConfigError(f"`chat_template: {name}`: use `tokenizer_default`; the tokenizer of such a model has it")
    else:
        known = ["tokenizer_default", "jinja", *named_templates()]
        raise ConfigError(f"`chat_template: {name}` is none of {', '.join(known)}{did_you_mean(name, known)}")
    specials = {str(token) for token in tokenizer.added_tokens_decoder.values()}
    stops = tuple(sorted((specials | {tokenizer.eos_token or ""}) - {""}))
    return ChatTemplate(tokenizer, text, stops, tuple(eot_tokens), settings or {})


def _own_template(tokenizer: Tokenizer) -> str:
    """Return the tokenizer's own template; several are one, which chooses as transformers does: `tool_use` for tools.

    Raises:
        ConfigError: it has none, or none for a conversation without tools.
    """
    own = tokenizer.chat_template
    default, tool_use = (own.get("default"), own.get("tool_use")) if isinstance(own, dict) else (own, None)
    if not isinstance(default, str):
        others = f"; those it has are {', '.join(own)}" if own else ""
        raise ConfigError(
            f"the tokenizer has no chat template{others}; set `chat_template` to one of {', '.join(named_templates())}"
        )
    if tool_use is None:
        return default
    # The empty expressions keep newlines beside the blocks, and Jinja drops one at the end of a template.
    one, other = (f"{{{{ '' }}}}{text.removesuffix(chr(10))}{{{{ '' }}}}" for text in (tool_use, default))
    return f"{{% if tools %}}{one}{{% else %}}{other}{{% endif %}}"


def _trl_template(name: str) -> str:
    """Return a template of the trl package, without importing it: it would load torch."""
    found = find_spec("trl")
    folder = Path((found.submodule_search_locations or [""])[0] if found else "") / "chat_templates"
    names = [file.stem for file in sorted(folder.glob("*.jinja"))] if found else []
    if name not in names:
        where = f"; known are {', '.join(names)}" if names else "; install the package: pip install trl"
        raise ConfigError(f"`chat_template: trl:{name}`: there is no such template in trl{where}")
    return (folder / f"{name}.jinja").read_text(encoding="utf-8")


def _template_text(jinja: str, source: str) -> str:
    """Return the template itself, or what its file holds."""
    if "{" in jinja:
        return jinja
    file = Path(resolve_file(jinja, source))
    if not file.is_file():
        raise ConfigError(f"`chat_template_jinja: {jinja}` is no file here or beside {source}, and no Jinja text")
    return file.read_text(encoding="utf-8")


@cache
def template_properties(text: str) -> frozenset[str]:
    """Return the names of all properties that a template reads: `name` of `message.name` and `message['name']`."""
    import jinja2
    from jinja2 import nodes

    marks = re.compile(r"{%-?\s*(?:end)?generation\s*-?%}")  # a tag of transformers alone
    tree = jinja2.Environment(extensions=["jinja2.ext.loopcontrols"]).parse(marks.sub("", text))
    dotted = {node.attr for node in tree.find_all(nodes.Getattr)}
    keys = {node.arg.value for node in tree.find_all(nodes.Getitem) if isinstance(node.arg, nodes.Const)}
    return frozenset(dotted | {key for key in keys if isinstance(key, str)})


SAME_TEXT = {"aya": "cohere", "gemma3n": "gemma3", "gemma4_unified": "gemma4", "qwen3_5": "qwen3"}
"""Names of templates that write the same text as another."""

TOO_LONG = ("command_a", "command_a_rag", "command_a_tool_use")
"""Axolotl's templates that are pages of fixed text, which the model's own tokenizer has."""


@cache
def named_templates() -> dict[str, str]:
    """Return the templates that come with Tunesmith, by name."""
    folder = files("tunesmith.data").joinpath("templates")
    items = sorted(folder.iterdir(), key=str)
    found = {item.name.removesuffix(".jinja"): item.read_text(encoding="utf-8") for item in items}
    return found | {name: found[other] for name, other in SAME_TEXT.items()}
