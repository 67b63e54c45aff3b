"""The hash of the user's own code: what decides it, and what does not."""

import pytest

from tunesmith.errors import ConfigError
from tunesmith.references import code_digest

CODE = {
    "filters/keep.py": "import json\nfrom helper import clean\nimport package.part as part\nimport datasets\n",
    "filters/helper.py": "def clean(text):\n    import deep\n    return deep.words(text)\n",
    "filters/deep.py": "import keep\n",
    "filters/package/__init__.py": "",
    "filters/package/part.py": "from . import inner\nfrom .names import NAMES\n",
    "filters/package/inner.py": "from ..other import x\n",
    "filters/package/names.py": "NAMES = []\n",
    "filters/plain/words.py": "WORDS = []\n",
    "shared.py": "LIMIT = 3\n",
    "filters/unused.py": "",
    "filters/datasets/readme.txt": "",
}


@pytest.fixture
def code(tmp_path, monkeypatch):
    """The folder of `CODE`, which is the working folder."""
    for name, text in CODE.items():
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text(text)
    (tmp_path / "filters/keep.py").write_text(CODE["filters/keep.py"] + "from plain import words\nimport shared\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize("name", [*CODE])
def test_all_that_a_file_imports_from_the_users_folders_decides_its_hash(code, name):
    first = code_digest("filters/keep.py:keep", "config.yml")
    assert code_digest("keep.py", str(code / "filters/config.yml")) == first
    (code / name).write_text(f"{(code / name).read_text()}# a note\n")
    is_imported = name not in ("filters/unused.py", "filters/datasets/readme.txt")
    assert (code_digest("filters/keep.py:keep", "config.yml") != first) == is_imported


def test_a_file_that_is_added_or_does_not_parse_has_a_hash_too(code):
    (code / "filters/keep.py").write_text("import later\n")
    first = code_digest("filters/keep.py", "config.yml")
    (code / "filters/later.py").write_text("def broken(:\n")
    assert code_digest("filters/keep.py", "config.yml") != first
    with pytest.raises(ConfigError, match=r"none\.py: no such file"):
        code_digest("filters/none.py", "config.yml")
