"""A tokenizer.model without a tokenizer.json: the ids are SentencePiece's, wherever it comes from."""

import json
import os
import subprocess
import sys
from functools import partial
from hashlib import sha1
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread

import pytest
from sentencepiece import SentencePieceTrainer

from real_tokenizers import family_folder
from tunesmith.data import sentencepiece
from tunesmith.data.sentencepiece import sentencepiece_disagreements
from tunesmith.data.tokenizer import adds_bos, load_tokenizer
from tunesmith.errors import ModelError

ROOT = Path(__file__).parents[2]
ODD = [
    *(" " * n + "x" for n in range(1, 9)),
    *("\t" * n + "=" * n for n in range(1, 9)),
    "",
    " ",
    "\n",
    " ### Response:",
    "▁ ▁▁x",
    "\xa0\u200b\u3000 x",
    "Übersetze „naïve café“ 🤖👩‍👩‍👧",
    "漢字 кириллица ไทย עברית عربي",
    "e\u0301 é ﬁ ½ ①",
    "[REFERENCE_DOC_3] [REF]x[/REF]",
    "<0x0A> <unk > < s>",
]
FAMILIES = ["mistral_v1", "mistral_v2", "mistral_v3", "mistral_v7"]


@pytest.fixture(scope="module")
def lines():
    """Every third line of this project's sources, tests and documents, spaces at the start and all."""
    files = sorted([*ROOT.glob("src/**/*.py"), *ROOT.glob("tests/data/*.py"), *ROOT.glob("docs/*.md")])
    found = [line for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return [*dict.fromkeys(found[::3]), *(file.read_text(encoding="utf-8") for file in files[::20])]


@pytest.fixture
def family(request):
    """The tokenizer of the family that the test is for, and its folder."""
    return request.getfixturevalue(request.param), family_folder(request.param)


every_family = pytest.mark.parametrize("family", FAMILIES, indirect=True)


@every_family
def test_ids_are_those_of_sentencepiece(family, lines):
    tokenizer, folder = family
    assert len(lines) > 300
    assert sentencepiece_disagreements(folder, tokenizer, [*lines, *ODD]) == []


@every_family
def test_texts_come_back(family, lines):
    tokenizer, _ = family
    for text in [*lines, "é🤖\n\t x ", "  two"]:
        if "▁" in text or "<s>" in text or "</s>" in text:  # made a space; followed by one
            continue
        assert tokenizer.decode(tokenizer(text, add_special_tokens=False).input_ids) == text


@every_family
def test_a_saved_one_is_the_same(family, tmp_path):
    tokenizer, _ = family
    tokenizer.save_pretrained(tmp_path)
    texts = [*ODD, "<s>[INST]  Hi[/INST] x</s> y"]
    assert load_tokenizer(str(tmp_path))(texts).input_ids == tokenizer(texts).input_ids


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        ("bpe", {"add_dummy_prefix": False, "user_defined_symbols": ["<|im_start|>", "\n", "    "]}),
        ("bpe", {"normalization_rule_name": "nmt_nfkc", "remove_extra_whitespaces": True, "byte_fallback": False}),
        ("unigram", {}),
    ],
)
def test_every_kind_of_model_file_is_read_as_sentencepiece_reads_it(kind, options, lines, tmp_path):
    defaults = {"normalization_rule_name": "identity", "remove_extra_whitespaces": False, "byte_fallback": True}
    SentencePieceTrainer.train(
        sentence_iterator=iter(lines),
        model_prefix=str(tmp_path / "tokenizer"),
        model_type=kind,
        vocab_size=800,
        minloglevel=2,
        **defaults | options,
    )
    (tmp_path / "tokenizer_config.json").write_text('{"legacy": false, "add_bos_token": false}')
    tokenizer = load_tokenizer(str(tmp_path))
    differing = sentencepiece_disagreements(tmp_path, tokenizer, lines)
    assert len(differing) <= (0.01 * len(lines) if kind == "unigram" else 0)
    assert not adds_bos(tokenizer)


def test_another_reading_is_shown(mistral_v1, mistral_v2):
    """The ids of version 2 are others, so that its tokenizer is no reading of version 1."""
    found = sentencepiece_disagreements(family_folder("mistral_v1"), mistral_v2, ["Hello", "</s> is left out", ""])
    assert found == [("Hello", [23325], [22557])]


def test_there_is_nothing_to_compare_without_a_file(mistral_v1, tmp_path):
    assert sentencepiece_disagreements(tmp_path, mistral_v1, ["Hello"]) == []
    (tmp_path / "tokenizer.model").write_text("aGVsbG8= 0\n")  # tiktoken's kind
    assert sentencepiece_disagreements(tmp_path, mistral_v1, ["Hello"]) == []


def test_without_legacy_only_the_start_of_a_text_gets_a_prefix_space(mistral_v1, mistral_v3):
    assert mistral_v1.tokenize("a</s>b</s> c") == ["▁a", "</s>", "▁b", "</s>", "▁", "▁c"]
    assert mistral_v3.tokenize("a</s>b</s> c") == ["▁a", "</s>", "b", "</s>", "▁c"]
    assert mistral_v3.tokenize(" a") == ["▁", "▁a"]


def test_character_offsets_are_those_of_the_text(mistral_v3):
    text = " two é🤖[INST] x"
    found = mistral_v3(text, add_special_tokens=False, return_offsets_mapping=True)
    spans = [text[start:end] for start, end in found.offset_mapping]
    assert spans == [" ", " two", " é", *"🤖" * 4, "[INST]", " x"]


def test_the_packages_that_read_the_file_are_named(monkeypatch, mistral_v1):
    monkeypatch.setattr("transformers.utils.import_utils.is_sentencepiece_available", lambda: False)
    with pytest.raises(ModelError, match=r"has only a tokenizer\.model; to read it: pip install 'tunesmith\[sentence"):
        load_tokenizer(str(family_folder("mistral_v1")))


def test_ids_that_differ_from_sentencepiece_are_noted(monkeypatch, mistral_v1, tmp_path, capsys):
    monkeypatch.setattr(sentencepiece, "sentencepiece_disagreements", lambda *_: [("a", [1], [2]), ("b", [1], [3])])
    load_tokenizer(str(family_folder("mistral_v1")))
    assert "'a' gets other ids than SentencePiece gives, [1] and not [2]\n" in capsys.readouterr().err


class ModelHub(BaseHTTPRequestHandler):
    """Answers as the Hub does for one repository, `bees/buzz`, whose files are in `folder`."""

    def __init__(self, folder, *args):
        self.folder = folder
        super().__init__(*args)

    def do_GET(self):
        path = self.path.split("?")[0]
        file = self.folder / path.rsplit("/", 1)[-1]
        if path.startswith("/bees/buzz/resolve/") and file.is_file():
            self.answer(file.read_bytes(), ETag=f'"{sha1(file.read_bytes()).hexdigest()}"')
        elif path.startswith("/api/models/bees/buzz/tree/"):
            found = [
                {"type": "file", "path": item.name, "size": item.stat().st_size, "oid": "0" * 40}
                for item in self.folder.iterdir()
            ]
            self.answer(json.dumps(found).encode())
        elif path.startswith("/api/models/bees/buzz"):
            names = [{"rfilename": item.name} for item in self.folder.iterdir()]
            self.answer(json.dumps({"id": "bees/buzz", "sha": "0" * 40, "siblings": names}).encode())
        else:
            self.answer(b"", 404, **{"X-Error-Code": "EntryNotFound"})

    do_HEAD = do_GET

    def answer(self, body, status=200, **headers):
        self.send_response(status)
        for name, value in {"Content-Length": str(len(body)), "X-Repo-Commit": "0" * 40, **headers}.items():
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, *_):
        """Say nothing."""


def test_a_repository_with_a_model_file_alone_is_loaded_also_from_the_cache(mistral_v3, tmp_path):
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(ModelHub, family_folder("mistral_v3")))
    Thread(target=server.serve_forever, daemon=True).start()
    code = "import sys; from tunesmith.data.tokenizer import load_tokenizer as load; t = load('bees/buzz'); "
    code += "print(t('  two[INST] x').input_ids, 'torch' in sys.modules)"
    env = os.environ | {"HF_HOME": str(tmp_path), "HF_ENDPOINT": f"http://127.0.0.1:{server.server_port}"}
    for offline in ("0", "1"):
        run = partial(subprocess.run, env=env | {"HF_HUB_OFFLINE": offline}, capture_output=True, text=True)
        result = run([sys.executable, "-c", code])
        assert result.stdout == f"{mistral_v3('  two[INST] x').input_ids} False\n", result.stderr
    server.shutdown()
    server.server_close()
