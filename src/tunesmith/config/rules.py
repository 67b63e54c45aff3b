"""Rules across keys. Each says which keys do not go together, with their values, and what to set instead."""

from collections.abc import Iterator

from tunesmith.config.sections import (
    AdapterSection,
    Config,
    DataSection,
    DistributionSection,
    ModelSection,
    TrainingSection,
)
from tunesmith.config.yaml_source import KeyPath

Problem = tuple[KeyPath, str]
"""The key at which the problem is shown, and the text."""


def broken_rules(config: Config) -> list[Problem]:
    """Return the problems between keys, in the order of the sections."""
    return [
        *_model(config.model),
        *_adapter(config.adapter, config.model),
        *_data(config.data),
        *_distribution(config.distribution),
        *_training(config.training, config.data),
    ]


def _model(model: ModelSection) -> Iterator[Problem]:
    if model.load_in_4bit and model.load_in_8bit:
        yield ("load_in_8bit",), "`load_in_4bit: true` and `load_in_8bit: true`: keep one"
    if model.fp16 and model.bf16 in (True, "full"):
        yield ("fp16",), f"`bf16: {model.bf16}` and `fp16: true`: keep one; bf16 where the machine has it"
    if model.chat_template == "jinja" and not model.chat_template_jinja:
        yield ("chat_template",), "`chat_template: jinja` needs `chat_template_jinja`: the template or its file"


def _adapter(adapter: AdapterSection, model: ModelSection) -> Iterator[Problem]:
    if adapter.adapter and adapter.lora_r is None and adapter.lora_model_dir is None:
        yield ("adapter",), f"`adapter: {adapter.adapter}` needs `lora_r`; 16 is a good start"
    if adapter.adapter == "qlora" and not model.load_in_4bit:
        yield ("adapter",), "`adapter: qlora` needs `load_in_4bit: true`; without it, use `adapter: lora`"
    if adapter.adapter == "qlora" and model.load_in_8bit:
        yield ("load_in_8bit",), "`adapter: qlora` needs `load_in_4bit: true`, not `load_in_8bit`"
    if adapter.adapter is None and (model.load_in_4bit or model.load_in_8bit):
        bits = "4" if model.load_in_4bit else "8"
        yield (
            (f"load_in_{bits}bit",),
            "quantised weights cannot be trained; set `adapter: qlora` (4 bits) or `adapter: lora`",
        )
    if (
        adapter.adapter
        and not adapter.lora_model_dir
        and not adapter.lora_target_linear
        and not adapter.lora_target_modules
    ):
        yield ("adapter",), f"`adapter: {adapter.adapter}` needs `lora_target_linear: true` or `lora_target_modules`"
    if adapter.lora_model_dir and not adapter.adapter:
        yield ("lora_model_dir",), f"`lora_model_dir: {adapter.lora_model_dir}` needs `adapter: lora` (or qlora)"
    if adapter.lora_target_linear and isinstance(adapter.lora_target_modules, str):
        yield (
            ("lora_target_modules",),
            f"`lora_target_linear: true` and the regular expression `{adapter.lora_target_modules}`: keep one",
        )


def _data(data: DataSection) -> Iterator[Problem]:
    if data.val_set_size and data.test_datasets:
        yield ("val_set_size",), f"`val_set_size: {data.val_set_size}` and `test_datasets`: keep one"
    for name in ("datasets", "test_datasets"):
        for index, dataset in enumerate(getattr(data, name)):
            if dataset.chat_template == "jinja" and not dataset.chat_template_jinja:
                yield (name, index, "chat_template"), "`chat_template: jinja` needs `chat_template_jinja`"
            if dataset.shards is not None and dataset.shards_idx >= dataset.shards:
                yield (
                    (name, index, "shards_idx"),
                    f"`shards_idx: {dataset.shards_idx}` must be below `shards: {dataset.shards}`",
                )


def _training(training: TrainingSection, data: DataSection) -> Iterator[Problem]:
    has_eval = bool(data.val_set_size or data.test_datasets)
    set_keys = training.model_fields_set
    for one, other in (
        ("warmup_steps", "warmup_ratio"),
        ("save_steps", "saves_per_epoch"),
        ("eval_steps", "evals_per_epoch"),
        ("batch_size", "gradient_accumulation_steps"),
    ):
        if one in set_keys and other in set_keys:
            yield (other,), f"`{one}: {getattr(training, one)}` and `{other}: {getattr(training, other)}`: keep one"
    if training.batch_size is not None and training.batch_size % training.micro_batch_size:
        yield (
            ("batch_size",),
            f"`batch_size: {training.batch_size}` must be a multiple of "
            f"`micro_batch_size: {training.micro_batch_size}`",
        )
    for kind in ("save", "eval"):
        strategy = getattr(training, f"{kind}_strategy")
        for key in (f"{kind}_steps", f"{kind}s_per_epoch"):
            if key in set_keys and strategy in ("no", "epoch"):
                yield (key,), f"`{key}: {getattr(training, key)}` needs `{kind}_strategy: steps`, found `{strategy}`"
    if not has_eval:
        for key in ("eval_steps", "early_stopping_patience", "load_best_model_at_end"):
            if key in set_keys and getattr(training, key):
                yield (
                    (key,),
                    f"`{key}: {getattr(training, key)}` needs rows to evaluate on; "
                    "set `val_set_size: 0.05`, or remove it",
                )
    if training.cosine_min_lr_ratio is not None and training.lr_scheduler != "cosine":
        yield (
            ("cosine_min_lr_ratio",),
            f"`cosine_min_lr_ratio` needs `lr_scheduler: cosine`, found `{training.lr_scheduler}`",
        )


def _distribution(distribution: DistributionSection) -> Iterator[Problem]:
    block, version = distribution.fsdp_config, distribution.fsdp_version
    if distribution.sharded and distribution.deepspeed:
        key = "fsdp" if distribution.fsdp else "fsdp_config"
        yield ("deepspeed",), f"`deepspeed` and `{key}`: keep one; both split the model over GPUs"
    if block.auto_wrap_policy == "SIZE_BASED_WRAP" and block.min_num_params is None:
        yield ("fsdp_config",), "`auto_wrap_policy: SIZE_BASED_WRAP` needs `min_num_params`, such as 100000000"
    if version is not None and block.version not in (None, version):
        yield ("fsdp_version",), f"`fsdp_version: {version}` and `fsdp_config.fsdp_version: {block.version}`: keep one"
    if block.reshard_after_forward is not None and block.sharding_strategy is not None:
        yield (
            ("fsdp_config",),
            f"`reshard_after_forward: {str(block.reshard_after_forward).lower()}` and "
            f"`sharding_strategy: {block.sharding_strategy}`: keep one",
        )
