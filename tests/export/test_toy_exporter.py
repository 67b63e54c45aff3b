"""A new exporter is one function and one line in `EXPORTERS`."""

import json

import pytest

from tunesmith.config.load import load
from tunesmith.errors import ConfigError, RunError
from tunesmith.export.exporters import EXPORTERS, export_model


def export_card(config, folder, dtype):
    """Write which base model and rank an adapter has."""
    folder.mkdir()
    card = {"base": config.model.base_model, "rank": config.adapter.lora_r, "dtype": dtype}
    (folder / "card.json").write_text(json.dumps(card))
    return f"card: {folder}"


@pytest.fixture
def config(tmp_path, write_config, monkeypatch):
    monkeypatch.setitem(EXPORTERS, "card", export_card)
    return load(str(write_config(tmp_path, lora_r=4)))


def test_a_toy_exporter_is_found_by_its_name(config, tmp_path):
    assert export_model("card", config, tmp_path / "card", "float32") == f"card: {tmp_path}/card"
    card = json.loads((tmp_path / "card/card.json").read_text())
    assert card == {"base": config.model.base_model, "rank": 4, "dtype": "float32"}


def test_every_exporter_leaves_a_folder_with_files_alone(config, tmp_path):
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/notes.txt").write_text("mine")
    with pytest.raises(RunError, match="is not empty"):
        export_model("card", config, tmp_path / "mine", "float32")
    assert [item.name for item in (tmp_path / "mine").iterdir()] == ["notes.txt"]


def test_an_unknown_exporter_names_the_nearest(config, tmp_path):
    with pytest.raises(ConfigError, match=r"no exporter `merge`.*merged"):
        export_model("merge", config, tmp_path / "out", "float32")
