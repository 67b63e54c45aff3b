"""The names of optimizers and schedules are those of transformers and Axolotl, without importing either."""

from tunesmith.config.methods import OPTIMIZERS, REFUSED_OPTIMIZERS, RENAMED_OPTIMIZERS, SCHEDULES

AXOLOTL = {
    *("optimi_adamw", "ao_adamw_4bit", "ao_adamw_8bit", "ao_adamw_fp8", "adopt_adamw", "came_pytorch", "muon", "dion"),
    *("sinkgd", "flash_adamw", "flash_adam", "flash_sgd", "flash_sgdw", "flash_lion", "q_galore_adamw8bit"),
    "lion_pytorch",
}


def test_every_optimizer_of_transformers_and_axolotl_is_known_once():
    from transformers.training_args import OptimizerNames

    tables = (set(OPTIMIZERS), set(REFUSED_OPTIMIZERS), set(RENAMED_OPTIMIZERS))
    assert {item.value for item in OptimizerNames} | AXOLOTL <= set.union(*tables)
    assert sum(map(len, tables)) == len(set.union(*tables))
    assert set(RENAMED_OPTIMIZERS.values()) <= set(OPTIMIZERS)


def test_every_schedule_of_transformers_and_axolotl_is_known():
    from transformers.trainer_utils import SchedulerType

    assert {item.value for item in SchedulerType} | {"one_cycle", "rex"} == set(SCHEDULES)
