"""Rules across the keys of data and of several devices, each broken once; and keys that change nothing."""

import pytest

from tunesmith.config.load import load
from tunesmith.errors import ConfigError

TEST = {"test_datasets": [{"path": "a", "type": "alpaca"}]}


def entry(**keys):
    return {"datasets": [{"path": "a", "type": "alpaca", **keys}]}


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"val_set_size": 0.1, **TEST}, "`val_set_size: 0.1` and `test_datasets`: use only one"),
        ({"min_sample_len": 300}, "`min_sample_len: 300` must not be above `sequence_len: 256`"),
        ({"streaming": True}, "`streaming: true` needs `max_steps`"),
        (
            {"streaming": True, "max_steps": 5, "val_set_size": 0.1},
            "`streaming: true` and `val_set_size: 0.1`: use only one; a stream has no end to split off; set",
        ),
        (
            {"streaming": True, "max_steps": 5, "dataset_exact_deduplication": True},
            "`streaming: true` and `dataset_exact_deduplication: true`: use only one",
        ),
        ({"dataset_shard_num": 2}, "`dataset_shard_num: 2` needs `dataset_shard_idx`"),
        ({"dataset_shard_idx": 1}, "`dataset_shard_idx: 1` needs `dataset_shard_num`"),
        (
            {"dataset_shard_num": 2, "dataset_shard_idx": 2},
            "`dataset_shard_idx: 2` must be below `dataset_shard_num: 2`",
        ),
        (entry(shards_idx=1), "`shards_idx: 1` needs `shards`"),
        (entry(shards=2, shards_idx=2), "`shards_idx: 2` must be below `shards: 2`"),
        (entry(chat_template="jinja"), "`chat_template: jinja` needs `chat_template_jinja`"),
        ({"pretrain_multipack_attn": False}, "`pretrain_multipack_attn` takes true only"),
        (
            {"deepspeed": {"zero_optimization": {"stage": 2}}, "fsdp": ["full_shard"]},
            "`deepspeed` and `fsdp`: use only one; both shard the model",
        ),
        (
            {"deepspeed": "a.json", "fsdp_config": {"offload_params": True}},
            "`deepspeed` and `fsdp_config`: use only one",
        ),
        (
            {"fsdp_config": {"auto_wrap_policy": "SIZE_BASED_WRAP"}},
            "`auto_wrap_policy: SIZE_BASED_WRAP` needs `min_num_params`",
        ),
        (
            {"fsdp_version": 2, "fsdp_config": {"fsdp_version": 1}},
            "`fsdp_version: 2` and `fsdp_config.fsdp_version: 1`: use only one",
        ),
        (
            {"fsdp_config": {"reshard_after_forward": True, "sharding_strategy": "SHARD_GRAD_OP"}},
            "`reshard_after_forward: true` and `sharding_strategy: shard_grad_op`: use only one",
        ),
        ({"fsdp": ["hybrid_shard"]}, "`hybrid_shard` is now written as `dp_replicate_size` (copies) and"),
        (
            {"fsdp_config": {"fsdp_auto_wrap_polcy": "x"}},
            "unknown key `auto_wrap_polcy` in `fsdp_config`; did you mean",
        ),
        ({"fsdp": ["ful_shard"]}, "`fsdp.0` expects "),
        ({"fsdp_config": "zero2.json"}, "`fsdp_config` expects a mapping, found 'zero2.json'"),
        ({"fsdp_config": {"mixed_precision_policy": "fp32"}}, "the number format follows `bf16` and `fp16`; set those"),
    ],
)
def test_keys_that_do_not_go_together_are_refused(tmp_path, write_config, changes, expected):
    file = write_config(tmp_path, **changes)
    with pytest.raises(ConfigError) as caught:
        load(str(file))
    assert expected in str(caught.value)
    assert str(caught.value).startswith(f"{file}:")


@pytest.mark.parametrize(
    ("changes", "expected"),
    [
        ({"eval_sequence_len": 64}, "`eval_sequence_len`: ignored: only with `test_datasets`"),
        ({"dp_shard_size": 2}, "`dp_shard_size`: ignored: FSDP is off"),
        ({"fsdp_version": 2}, "`fsdp_version`: ignored: FSDP is off"),
        ({"fsdp": ["full_shard"], "ddp_bucket_cap_mb": 5}, "`ddp_bucket_cap_mb`: ignored: FSDP and DeepSpeed"),
        (
            {"fsdp": ["full_shard"], "fsdp_config": {"fsdp_limit_all_gathers": True, "fsdp_use_orig_params": True}},
            "`fsdp_config.fsdp_limit_all_gathers`, `fsdp_config.fsdp_use_orig_params`: ignored: "
            "read by FSDP 1 only; FSDP 2 is used",
        ),
        (
            {"fsdp_final_state_dict_type": "SHARDED_STATE_DICT"},
            "`fsdp_final_state_dict_type`: ignored: the final model is always saved completely",
        ),
        (
            {"streaming_multipack_buffer_size": 100},
            "`streaming_multipack_buffer_size`: ignored: packing looks at all rows that the run takes",
        ),
        ({"deepcompile": True}, "`deepcompile`: ignored: speed only"),
    ],
)
def test_keys_that_change_nothing_are_named(tmp_path, write_config, changes, expected):
    assert expected in "\n".join(load(str(write_config(tmp_path, **changes))).notes)
