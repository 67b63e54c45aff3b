"""What the launcher put into the environment."""

import pytest

from tunesmith.errors import RunError
from tunesmith.world import World, detect_world

TORCHRUN = {"RANK": "3", "LOCAL_RANK": "1", "WORLD_SIZE": "4", "TORCHELASTIC_RUN_ID": "none"}


@pytest.mark.parametrize(
    ("environment", "world"),
    [
        ({}, World()),
        (TORCHRUN, World(3, 1, 4, "torchrun")),
        (TORCHRUN | {"ACCELERATE_MIXED_PRECISION": "no"}, World(3, 1, 4, "accelerate")),
        ({"ACCELERATE_MIXED_PRECISION": "no", "ACCELERATE_USE_FSDP": "true"}, World(0, 0, 1, "accelerate", "fsdp")),
        ({"RANK": "0", "WORLD_SIZE": "2", "ACCELERATE_USE_DEEPSPEED": "false"}, World(0, 0, 2, "env")),
    ],
)
def test_the_world_is_read_from_the_environment(environment, world):
    assert detect_world(environment) == world


def test_the_first_process_is_the_main_one():
    assert World().is_main
    assert not World(rank=1, size=2).is_main


@pytest.mark.parametrize("value", ["abc", "-1", "1.5"])
def test_a_rank_that_is_no_number_is_an_error(value):
    with pytest.raises(RunError, match=rf"RANK={value} in the environment is not a whole number"):
        detect_world({"RANK": value})


def test_an_empty_rank_is_none():
    assert detect_world({"RANK": ""}).rank == 0
