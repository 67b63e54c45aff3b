"""Metrics and config arrive at each tracker, by its own library where it is installed; none stops a run."""

import zipfile
from importlib.util import find_spec
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml

from tunesmith.cli.train import main
from tunesmith.config.load import load
from tunesmith.sections import TrackingSection
from tunesmith.sections.tracking import SWITCHES, without_secrets
from tunesmith.training.record import trackers
from tunesmith.training.record.trackers import choose_trackers, environment, report_arguments
from tunesmith.world import World

RUN = {"max_steps": 3, "val_set_size": 2, "save_strategy": "no"}
NOBODY = "http://127.0.0.1:9"


@pytest.fixture(autouse=True)
def surroundings(monkeypatch, tmp_path):
    """Trackers write below the working folder, find no login, and ask no server."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in (
        *("WANDB_MODE", "WANDB_PROJECT", "WANDB_NAME", "WANDB_API_KEY", "WANDB_WATCH", "WANDB_LOG_MODEL"),
        *("WANDB_RUN_ID", "WANDB_RESUME", "TENSORBOARD_LOGGING_DIR", "COMET_START_ONLINE", "COMET_API_KEY"),
        *("COMET_PROJECT_NAME", "SWANLAB_MODE", "SWANLAB_API_KEY", "MLFLOW_TRACKING_URI", "MLFLOW_EXPERIMENT_NAME"),
        "HF_MLFLOW_LOG_ARTIFACTS",
    ):
        monkeypatch.setenv(name, "")  # so that what a test sets is taken back
        monkeypatch.delenv(name)
    for name in ("WANDB_BASE_URL", "COMET_URL_OVERRIDE", "SWANLAB_API_HOST"):
        monkeypatch.setenv(name, NOBODY)
    monkeypatch.setenv("TRACKIO_DIR", str(tmp_path / "trackio"))


@pytest.fixture
def tracked(tmp_path, tiny_config, train, losses):
    """`tracked(**keys)` trains with these keys and returns step -> loss."""
    return lambda **keys: losses(train(tiny_config(tmp_path, **(RUN | keys))))


def test_a_tracker_that_is_not_installed_is_left_out_and_said_so(tracked, capsys):
    missing = next((name for name in SWITCHES if find_spec(name) is None), None)
    if missing is None:
        pytest.skip("all trackers are installed")
    curve = tracked(**{SWITCHES[missing][0]: True})
    err = capsys.readouterr().err
    assert f"off  (not installed: pip install {missing.replace('_', '-')}; the metrics are in run/metrics.jsonl" in err
    assert len(curve) == 3


def test_tensorboard_gets_the_losses_and_the_config(tracked, tmp_path):
    pytest.importorskip("tensorboard")
    from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

    curve = tracked(use_tensorboard=True)
    events = EventAccumulator(str(tmp_path / "out/runs")).Reload()
    assert {item.step: item.value for item in events.Scalars("train/loss")} == pytest.approx(curve)
    assert len(events.Scalars("train/tokens_per_second")) == 3
    assert len(events.Scalars("eval/loss")) == 1
    (config,) = events.Tensors("config/text_summary")
    assert b"use_tensorboard: true" in config.tensor_proto.string_val[0]


@pytest.mark.optional
def test_wandb_runs_offline_without_a_key(tracked, tmp_path, capsys):
    pytest.importorskip("wandb")
    curve = tracked(wandb_project="bees", wandb_name="first", wandb_watch="all", wandb_log_model="end")
    assert "offline  (no API key: `wandb login`; `wandb sync` sends the run later)" in capsys.readouterr().err
    (file,) = tmp_path.glob("wandb/offline-run-*/run-*.wandb")
    written = file.read_bytes()
    for part in ("bees", "first", "train/tokens_per_second", "eval/loss", "final_model", *map(str, curve.values())):
        assert part.encode() in written, part
    assert b'"wandb_project":"bees"' in written.replace(b'": "', b'":"')


@pytest.mark.optional
def test_mlflow_gets_the_losses_the_config_and_the_end(tracked, tiny_config, tmp_path):
    mlflow = pytest.importorskip("mlflow")
    keys = {"mlflow_tracking_uri": f"sqlite:///{tmp_path}/mlflow.db", "mlflow_experiment_name": "bees"}
    keys |= {"mlflow_run_name": "first", "hf_mlflow_log_artifacts": True, "save_strategy": "epoch"}
    curve = tracked(**keys)
    broken = {"output_dir": str(tmp_path / "broken"), "loss_watchdog_threshold": 1e-9, "loss_watchdog_patience": 1}
    assert main([str(tiny_config(tmp_path, **(RUN | keys | broken)))]) == 5
    client = mlflow.MlflowClient(keys["mlflow_tracking_uri"])
    failed, run = client.search_runs([client.get_experiment_by_name("bees").experiment_id])
    assert (run.info.status, failed.info.status) == ("FINISHED", "FAILED")
    assert run.info.run_name == "first"
    assert {item.step: item.value for item in client.get_metric_history(run.info.run_id, "loss")} == curve
    file = client.download_artifacts(run.info.run_id, "config.yml", str(tmp_path))
    assert yaml.safe_load(Path(file).read_text())["mlflow_run_name"] == "first"


@pytest.mark.optional
def test_trackio_gets_the_losses_and_the_config(tracked):
    trackio = pytest.importorskip("trackio")
    from trackio.sqlite_storage import SQLiteStorage

    curve = tracked(trackio_project_name="bees", trackio_run_name="first")
    (run,) = trackio.Api().runs("bees")
    assert run.name == "first"
    logged = [entry["train/loss"] for entry in SQLiteStorage.get_logs("bees", "first") if "train/loss" in entry]
    assert logged == pytest.approx(list(curve.values()))
    assert run.config["tunesmith"]["trackio_run_name"] == "first"


@pytest.mark.optional
def test_swanlab_gets_the_losses_the_config_and_its_names(tracked, tmp_path, capsys):
    pytest.importorskip("swanlab")
    names = {"swanlab_experiment_name": "first", "swanlab_workspace": "hive", "swanlab_description": "of bees"}
    tracked(swanlab_project="bees", **names)
    assert "offline  (no API key: `swanlab login`" in capsys.readouterr().err
    (file,) = tmp_path.glob("swanlog/run-*/files/config.yaml")
    assert "swanlab_experiment_name: first" in file.read_text()
    (log,) = tmp_path.glob("swanlog/run-*/run-*.swanlab")
    for part in ("train/loss", "bees", *names.values()):
        assert part.encode() in log.read_bytes(), part


@pytest.mark.optional
def test_comet_gets_the_losses_and_the_config(tracked, tmp_path):
    pytest.importorskip("comet_ml")
    tracked(comet_project_name="bees", comet_online=False)
    (file,) = tmp_path.glob(".cometml-runs/*.zip")
    with zipfile.ZipFile(file) as archive:
        messages = archive.read("messages.json").decode()
    assert "config.yml" in messages
    assert "train/loss" in messages


def test_keys_become_the_environment_of_a_tracker(tmp_path):
    def variables(name, **keys):
        return environment(name, TrackingSection(**keys), tmp_path)

    assert variables("wandb", wandb_entity="hive", wandb_run_id="x1", mlflow_run_name="y") == {
        "WANDB_ENTITY": "hive",
        "WANDB_RUN_ID": "x1",
        "WANDB_RESUME": "allow",
    }
    comet = {"comet_workspace": "hive", "comet_experiment_key": "x1", "comet_mode": "get", "comet_online": False}
    assert variables("comet_ml", **comet) == {
        "COMET_WORKSPACE": "hive",
        "COMET_EXPERIMENT_KEY": "x1",
        "COMET_MODE": "get",
        "COMET_ONLINE": "false",
        "COMET_START_ONLINE": "false",
    }
    swanlab = {"swanlab_api_key": "k", "swanlab_api_host": "a", "swanlab_web_host": "w", "swanlab_project": "bees"}
    assert variables("swanlab", **swanlab) == {
        "SWANLAB_API_KEY": "k",
        "SWANLAB_API_HOST": "a",
        "SWANLAB_WEB_HOST": "w",
    }
    assert report_arguments(TrackingSection(trackio_space_id="hive/bees"), ["trackio"]) == {
        "report_to": ["trackio"],
        "run_name": None,
        "project": "tunesmith",
        "trackio_space_id": "hive/bees",
        "trackio_static_space_id": False,
        "hub_private_repo": True,
    }


@pytest.mark.optional
@pytest.mark.parametrize("name", ["wandb", "swanlab"])
def test_a_server_that_does_not_answer_means_offline(name, tmp_path, monkeypatch):
    pytest.importorskip(name)
    monkeypatch.setenv(f"{name.upper()}_API_KEY", "x" * 40)
    chosen = choose_trackers(TrackingSection.model_validate({f"{name}_project": "bees"}), tmp_path, World())
    assert [(item.key, item.value) for item in chosen.decisions] == [(name, "offline")]
    assert chosen.decisions[0].reason.startswith(f"{NOBODY} does not answer; `{name} sync`")


@pytest.mark.optional
def test_mlflow_without_its_server_is_left_out(tmp_path):
    pytest.importorskip("mlflow")
    address = NOBODY.replace("//", "//me:secret@")
    tracking = TrackingSection(use_mlflow=True, mlflow_tracking_uri=address)
    chosen = choose_trackers(tracking, tmp_path, World())
    assert chosen.arguments["report_to"] == "none"
    assert chosen.decisions == [
        ("mlflow", "off", f"{NOBODY} does not answer; the metrics are in run/metrics.jsonl"),
    ]


@pytest.mark.parametrize(
    ("name", "keys", "missing"),
    [
        ("swanlab", {}, "no API key: `swanlab login`"),
        ("swanlab", {"swanlab_api_key": "k"}, f"{NOBODY} does not answer"),
        ("swanlab", {"swanlab_mode": "local"}, ""),
        ("swanlab", {"swanlab_mode": "offline"}, ""),
        ("comet_ml", {}, "no API key: `comet login`"),
        ("comet_ml", {"comet_api_key": "k"}, f"{NOBODY} does not answer"),
        ("comet_ml", {"comet_online": False}, ""),
    ],
)
def test_what_a_tracker_needs_for_its_server(name, keys, missing, monkeypatch):
    comet = SimpleNamespace(config=SimpleNamespace(get_config=lambda key: None))  # no key in its own config file
    monkeypatch.setattr(trackers, "import_module", {"comet_ml": comet}.__getitem__)
    assert trackers._why_offline(name, TrackingSection(**keys)) == missing


def test_what_switches_a_tracker_on():
    def wanted(**keys):
        return [name for name in SWITCHES if TrackingSection(**keys).wants(name)]

    assert wanted() == []
    assert wanted(wandb_project="x") == ["wandb"]
    assert wanted(wandb_project="x", use_wandb=False) == []
    assert wanted(wandb_project="x", wandb_mode="disabled") == []
    assert wanted(swanlab_project="x", swanlab_mode="local") == ["swanlab"]
    assert wanted(swanlab_project="x", swanlab_mode="disabled") == []
    assert wanted(use_tensorboard=True, trackio_project_name="x") == ["tensorboard", "trackio"]
    assert wanted(use_mlflow=True, use_comet=True, use_trackio=True, use_swanlab=True) == [
        "mlflow",
        "comet_ml",
        "trackio",
        "swanlab",
    ]


def test_secrets_are_not_written_down(tmp_path, tiny_config, train):
    keys = {"comet_api_key": "hush", "use_comet": False, "mlflow_tracking_uri": "http://me:hush@host", "max_steps": 1}
    output = train(tiny_config(tmp_path, **keys))
    record = (output / "run/config.yml").read_text()
    assert "hush" not in record
    assert "mlflow_tracking_uri: http://***@host" in record
    assert "hush" not in str(without_secrets(load(str(tmp_path / "config.yml")).values))
