"""Training: batches, optimizer, schedule, logging, evaluation and checkpoints."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from tunesmith.sections.fields import EVALUATED, SET, Conflicts, IgnoredIf, ModelPath, OnlyFor, OutputPath, Requires
from tunesmith.sections.section import Count, Fraction, NonNegative, Section

LOW_RANK = ("galore_*", "apollo_*")
"""Optimizers that project the gradients of `optim_target_modules`."""
WATCHING = ("reduce_lr_on_plateau", "greedy")
"""Schedules that follow the eval loss."""
NO_BETAS = ("adafactor", "sgd", "adagrad", "rmsprop", "grokadamw")
"""Parts of the names of optimizers that read neither betas nor epsilon."""

NOT_READ = IgnoredIf(optimizer=tuple(f"*{name}*" for name in NO_BETAS), reason="the optimizer has no such argument")
NO_WARMUP = IgnoredIf(
    lr_scheduler=("constant", *WATCHING),
    reason="the schedule has no warmup; `lr_scheduler: constant_with_warmup` has one",
)
BEST = OnlyFor(early_stopping_patience=True, load_best_model_at_end=True, save_strategy="best", lr_scheduler=WATCHING)

Positive = Annotated[float, Field(gt=0)]


class LearningRateGroup(Section):
    """Parameters with their own learning rate."""

    name: str
    """Name of the group, for messages."""
    modules: Annotated[list[str], Field(min_length=1)]
    """Parts of parameter names, such as q_proj or layers.0."""
    lr: Positive
    """Their learning rate."""


class DynamicCheckpoint(Section):
    """Checkpoints on demand."""

    enabled: bool = False
    """Whether to check for the file."""
    check_interval: Count = 10
    """Check every N steps."""
    trigger_file_path: Annotated[str, OutputPath()] = "axolotl_checkpoint.save"
    """Name of the file in output_dir; it is removed when the checkpoint is saved."""


class TrainingSection(Section):
    """How the model is trained, logged, evaluated and saved."""

    output_dir: Annotated[str, OutputPath()] = "./model-out"
    """Folder of the run: checkpoints, the final model, and the record in run/."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 42
    """Seed of shuffling, initial adapter weights and dropout."""
    data_seed: Annotated[int, Field(ge=0, le=2**32 - 1)] | None = None
    """Seed of shuffling and of the split into train and eval rows. Default: `seed`."""
    micro_batch_size: Count = 1
    """Rows (packed rows with packing) in one forward pass on one device."""
    gradient_accumulation_steps: Annotated[Count, Conflicts(SET, batch_size=SET)] = 1
    """Micro-batches per optimizer step."""
    batch_size: Count | None = None
    """Rows in one optimizer step on one device; use it instead of gradient_accumulation_steps."""
    eval_batch_size: Annotated[Count | None, EVALUATED] = None
    """Rows in one forward pass of an evaluation. Default: `micro_batch_size`."""
    num_epochs: Annotated[Positive, IgnoredIf(max_steps=True)] = 1.0
    """Passes over the data."""
    max_steps: Count | None = None
    """Stop after this many optimizer steps."""
    learning_rate: Positive
    """Peak learning rate. 2e-4 suits LoRA, 1e-5 to 2e-5 full fine-tuning."""
    optimizer: Annotated[
        str, Requires(LOW_RANK, optim_target_modules=True, reason="such as all_linear or [q_proj]")
    ] = "adamw_torch"
    """Optimizer by its name in transformers, or one of Axolotl's."""
    optim_args: dict[str, Any] | str | None = None
    """Further arguments of the optimizer."""
    optim_target_modules: Annotated[list[str] | str | None, OnlyFor(optimizer=LOW_RANK)] = None
    """GaLore and APOLLO: modules whose gradients are projected: names, a regular expression, or all_linear."""
    embedding_lr: Positive | None = None
    """Learning rate of embeddings and head."""
    embedding_lr_scale: Annotated[Positive | None, Conflicts(SET, embedding_lr=SET)] = None
    """The same as a multiple of `learning_rate`."""
    lr_groups: list[LearningRateGroup] = []
    """Parameters with their own learning rate; the first matching group applies."""
    loraplus_lr_ratio: Annotated[
        Positive | None, Requires(adapter=True), Conflicts(SET, lr_groups=SET, embedding_lr=SET, embedding_lr_scale=SET)
    ] = None
    """LoRA+: learning rate of the B matrices as a multiple of `learning_rate`; 16 is usual."""
    loraplus_lr_embedding: Annotated[Positive, OnlyFor(loraplus_lr_ratio=True)] = 1e-6
    """LoRA+: learning rate of adapters on embeddings."""
    lr_scheduler: str = "cosine"
    """Learning-rate scheduler by its name in transformers, or one_cycle or rex."""
    lr_scheduler_kwargs: dict[str, Any] = {}
    """Further arguments of the scheduler."""
    cosine_min_lr_ratio: Annotated[
        Fraction | None, Requires(lr_scheduler=("cosine", "rex"), jagged_restart_steps=True)
    ] = None
    """cosine, rex: final learning rate as a fraction of the peak; with restarts, their minimum."""
    cosine_constant_lr_ratio: Annotated[
        Fraction | None,
        Requires(lr_scheduler="cosine"),
        Requires(cosine_min_lr_ratio=SET, reason="the fraction where it ends"),
    ] = None
    """cosine: reach the minimum after this fraction of the steps, and stay there."""
    lr_quadratic_warmup: Annotated[bool, Requires(lr_scheduler="cosine")] = False
    """cosine: quadratic warmup instead of linear."""
    lr_div_factor: Annotated[Positive | None, OnlyFor(lr_scheduler="one_cycle")] = None
    """one_cycle: initial learning rate is the peak divided by this. Default: 25."""
    jagged_restart_steps: Annotated[Count | None, Conflicts(lr_scheduler=(*WATCHING, "one_cycle"))] = None
    """Restart the learning rate every N steps."""
    jagged_restart_warmup_steps: Annotated[Count | None, OnlyFor(jagged_restart_steps=True)] = None
    """Warmup steps after a restart. Default: 10."""
    jagged_restart_anneal_steps: Annotated[Count | None, OnlyFor(jagged_restart_steps=True)] = None
    """Decay steps before a restart. Default: 1."""
    warmup_steps: Annotated[Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, lt=1)] | None, NO_WARMUP] = None
    """Number of warmup steps; below 1, a fraction of all steps."""
    warmup_ratio: Annotated[Fraction | None, NO_WARMUP, Conflicts(SET, warmup_steps=SET)] = None
    """Warmup as a fraction of all steps. Default: 3% of the steps, at most 100."""
    weight_decay: NonNegative = 0.0
    """Weight decay; norms and biases are excluded."""
    adam_beta1: Annotated[Fraction, NOT_READ] = 0.9
    """AdamW: beta1, decay of the first moment."""
    adam_beta2: Annotated[Fraction, NOT_READ] = 0.999
    """AdamW: beta2, decay of the second moment."""
    adam_beta3: Annotated[Fraction, OnlyFor(optimizer="came_pytorch")] = 0.9999
    """CAME: beta3, decay of the confidence."""
    adam_epsilon: Annotated[Positive, NOT_READ, IgnoredIf(optimizer="*lion*", reason="Lion has no such argument")] = (
        1e-8
    )
    """AdamW: epsilon in the denominator."""
    adam_epsilon2: Annotated[Positive, OnlyFor(optimizer="came_pytorch")] = 1e-16
    """CAME: epsilon of the confidence."""
    max_grad_norm: NonNegative = 1.0
    """Clip gradients to this norm; 0: off."""
    neftune_noise_alpha: Positive | None = None
    """NEFTune: alpha of the noise on the embeddings."""
    use_eaft: bool = False
    """Weight the loss of each token by its entropy (entropy-aware fine-tuning); the eval loss is unchanged."""
    eaft_alpha: Annotated[NonNegative, OnlyFor(use_eaft=True)] = 1.0
    """EAFT: exponent of the entropy."""
    eaft_k: Annotated[Count, OnlyFor(use_eaft=True)] = 20
    """EAFT: number of most likely tokens used for the entropy."""
    group_by_length: Annotated[bool, IgnoredIf(sample_packing=True)] = False
    """Put rows of similar length into one batch."""
    gradient_checkpointing: bool | Literal["offload", "offload_disk"] = False
    """Recompute activations in the backward pass: less memory, about a third more time."""
    gradient_checkpointing_kwargs: Annotated[dict[str, Any] | None, OnlyFor(gradient_checkpointing=True)] = None
    """Arguments of torch's checkpoint, such as {use_reentrant: false}."""
    dataloader_num_workers: Annotated[int, Field(ge=0)] = 0
    """Number of processes that load batches; 0 is enough, because the data is prepared on disk."""
    dataloader_prefetch_factor: Annotated[Count | None, OnlyFor(dataloader_num_workers=True)] = None
    """Number of batches that each process loads in advance."""
    dataloader_pin_memory: bool = True
    """Load batches into pinned memory, for a faster copy to the GPU."""
    dataloader_drop_last: bool = False
    """Drop the last batch of an epoch if it is not full."""
    accelerator_config: dict[str, Any] | None = None
    """accelerate's settings for loading: dispatch_batches, even_batches, use_seedable_sampler, non_blocking, ..."""
    ddp_find_unused_parameters: bool | None = None
    """Distributed runs: search for parameters without gradient."""
    logging_steps: Count | None = None
    """Log every N steps. Default: about 20 lines per run, and at least every 10 steps."""
    eval_strategy: Annotated[Literal["no", "steps", "epoch"] | None, EVALUATED] = None
    """When to evaluate during training. Default: from eval_steps or evals_per_epoch."""
    eval_steps: Annotated[Positive | None, Requires(SET, eval_strategy=(None, "steps"))] = None
    """Evaluate every N steps; below 1, a fraction of the run."""
    evals_per_epoch: Annotated[
        Annotated[int, Field(ge=0)] | None,
        EVALUATED,
        Conflicts(SET, eval_steps=SET),
        Requires(SET, eval_strategy=(None, "steps")),
    ] = None
    """Evaluations per epoch; 0 for none."""
    save_strategy: Literal["no", "steps", "epoch", "best"] | None = None
    """When to save checkpoints; `best`: after each evaluation that is the best so far. Default: each epoch."""
    save_steps: Annotated[Positive | None, Requires(SET, save_strategy=(None, "steps"))] = None
    """Save every N steps; below 1, a fraction of the run."""
    saves_per_epoch: Annotated[
        Annotated[int, Field(ge=0)] | None, Requires(SET, save_strategy=(None, "steps")), Conflicts(SET, save_steps=SET)
    ] = None
    """Checkpoints per epoch; 0 for none."""
    save_total_limit: Annotated[Count, IgnoredIf(save_strategy="no")] = 4
    """Number of checkpoints to keep; older ones are removed."""
    save_only_model: Annotated[
        bool, Conflicts(auto_resume_from_checkpoints=True, reason="no run can resume from such checkpoints")
    ] = False
    """Checkpoints without the optimizer state: a third of the size or less, but no run can resume from them."""
    save_first_step: bool = False
    """Save a checkpoint after the first step too, to test saving early."""
    dynamic_checkpoint: DynamicCheckpoint | None = None
    """Save a checkpoint whenever a trigger file appears."""
    resume_from_checkpoint: Annotated[str | None, ModelPath()] = None
    """Checkpoint folder to resume from."""
    auto_resume_from_checkpoints: bool = False
    """Resume from the last checkpoint in output_dir, if there is one."""
    load_best_model_at_end: bool = False
    """Load the best checkpoint at the end."""
    metric_for_best_model: Annotated[str, BEST] = "eval_loss"
    """Metric for the best checkpoint, early stopping and schedulers, such as eval_loss or eval_pass_rate."""
    greater_is_better: Annotated[bool | None, BEST] = None
    """Whether a higher value of it is better. Default: false for losses, perplexity and ter, true for scores."""
    early_stopping_patience: Count | None = None
    """Early stopping: stop after this many evaluations without improvement."""
    profiler_steps: Count | None = None
    """Write a trace of this many steps to profiler_trace.json in output_dir, for ui.perfetto.dev."""
    profiler_steps_start: Annotated[int, Field(ge=0), OnlyFor(profiler_steps=True)] = 0
    """First step of the trace, from 0."""
    torch_empty_cache_steps: Count | None = None
    """Empty the CUDA cache every N steps: slower, less memory."""
    gc_collect_steps: Count | None = None
    """Run Python's garbage collection every N steps."""
    loss_watchdog_threshold: Positive | None = None
    """Loss watchdog: a loss above this counts as diverged."""
    loss_watchdog_patience: Annotated[Count | None, OnlyFor(loss_watchdog_threshold=True)] = None
    """Loss watchdog: stop after this many diverged steps in a row. Default: 3."""

    @property
    def shuffle_seed(self) -> int:
        """Seed of the order of the data."""
        return self.seed if self.data_seed is None else self.data_seed

    @field_validator("eval_strategy", "save_strategy", mode="before")
    @classmethod
    def _bare_no(cls, value: Any) -> Any:
        """YAML reads a bare `no` as false."""
        return "no" if value is False else value

    @field_validator("jagged_restart_anneal_steps", mode="before", json_schema_input_type=Count | Literal[False] | None)
    @classmethod
    def _off(cls, value: Any) -> Any:
        """Axolotl's example has `jagged_restart_anneal_steps: false`."""
        return None if value is False else value
