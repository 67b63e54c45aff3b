"""A launcher that starts fewer processes than it was asked for is found out."""

import os
import sys

import pytest

from tunesmith.errors import RunError
from tunesmith.training.runtime.launch import _accelerate_processes, check_launch, check_world
from tunesmith.world import World

SCRIPT = ["-m", "tunesmith.cli.train", "cfg.yml"]


@pytest.fixture
def no_default_config(monkeypatch, tmp_path):
    """A machine where `accelerate config` was never run; the fixture is the file that it would write."""
    from accelerate.commands.config import config_args

    monkeypatch.setattr(config_args, "default_config_file", str(tmp_path / "default_config.yaml"))
    return tmp_path / "default_config.yaml"


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["python", "/venv/bin/accelerate", "launch", "--num_processes", "2", *SCRIPT], 2),
        (["python", "/venv/bin/accelerate", "launch", "--cpu", "--num_processes=4", *SCRIPT], 4),
        (["python", "/venv/bin/accelerate", "launch", "--num-processes", "3", *SCRIPT], 3),
        (["python", "/venv/bin/accelerate-launch", "--num_processes", "2", *SCRIPT], 2),
        (["python", "-m", "accelerate.commands.launch", "--num_processes", "2", *SCRIPT], 2),
        (["python", "/venv/bin/accelerate", "launch", *SCRIPT], None),
        (["python", "/venv/bin/torchrun", "--nproc_per_node", "2", *SCRIPT], None),
        (["bash", "launch", "--num_processes", "2"], None),
        (["bash"], None),
        ([], None),
    ],
)
@pytest.mark.usefixtures("no_default_config")
def test_the_processes_asked_for_are_read_from_the_command_line(command, expected):
    assert _accelerate_processes(command) == expected


@pytest.mark.parametrize("option", ["--config_file", "--config-file"])
def test_the_processes_asked_for_are_read_from_the_config_file(tmp_path, option):
    file = tmp_path / "accelerate.yaml"
    file.write_text("compute_environment: LOCAL_MACHINE\nnum_machines: 1\nnum_processes: 2\n")
    assert _accelerate_processes(["python", "accelerate", "launch", option, str(file), *SCRIPT]) == 2
    assert _accelerate_processes(["python", "accelerate", "launch", option, "missing.yaml", *SCRIPT]) is None


def test_the_file_of_accelerate_config_counts_where_none_is_named(no_default_config):
    no_default_config.write_text("num_processes: 8\n")
    assert _accelerate_processes(["python", "accelerate", "launch", *SCRIPT]) == 8


def test_processes_that_did_not_join_are_refused():
    world = World(size=2)
    with pytest.raises(RunError, match=r"2 processes were started, but they did not join.*torchrun"):
        check_world(1, world)
    check_world(2, world)


def test_fsdp_without_a_gpu_is_refused():
    world = World(backend="fsdp")
    with pytest.raises(RunError, match="accelerate drops FSDP on a machine without a GPU"):
        check_launch("cpu", world)
    check_launch("cuda", world)


@pytest.mark.slow
def test_accelerate_that_would_start_one_process_of_two_is_refused(tiny_config, tmp_path, start):
    accelerate = os.path.join(os.path.dirname(sys.executable), "accelerate")
    process = start(tiny_config(tmp_path), launcher=(accelerate, "launch", "--cpu", "--num_processes", "2"))
    output, _ = process.communicate(timeout=120)
    assert process.returncode != 0
    assert "error: `accelerate launch` was asked for 2 processes but started 1; for N processes" in output
    assert "torchrun --nproc_per_node N -m tunesmith.cli.train FILE" in output
    assert "exit status 5" in output
    assert not (tmp_path / "out").exists()
