"""The training itself."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from tunesmith.sections.fields import EVALUATED, SET, Conflicts, IgnoredIf, ModelPath, OnlyFor, OutputPath, Requires
from tunesmith.sections.section import Count, NonNegative, Section, Share

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
    """Weights with a learning rate of their own."""

    name: str
    """Name of the group, for messages."""
    modules: Annotated[list[str], Field(min_length=1)]
    """Parts of the names of its weights, such as q_proj or layers.0."""
    lr: Positive
    """Their learning rate."""


class DynamicCheckpoint(Section):
    """Saving on demand."""

    enabled: bool = False
    """Whether to look for the file."""
    check_interval: Count = 10
    """Steps between two looks."""
    trigger_file_path: Annotated[str, OutputPath()] = "axolotl_checkpoint.save"
    """Name of the file in output_dir; it is removed when the checkpoint is saved."""


class TrainingSection(Section):
    """How the weights are trained, logged, evaluated and saved."""

    output_dir: Annotated[str, OutputPath()] = "./model-out"
    """Folder of the run: checkpoints, the result, and the record in run/."""
    seed: Annotated[int, Field(ge=0, le=2**32 - 1)] = 42
    """Seed of shuffling, initial adapter weights and dropout."""
    micro_batch_size: Count = 1
    """Rows (packed rows with packing) in one forward pass on one device."""
    gradient_accumulation_steps: Annotated[Count, Conflicts(SET, batch_size=SET)] = 1
    """Forward passes before each optimizer step."""
    batch_size: Count | None = None
    """Rows in one optimizer step on one device; takes the place of gradient_accumulation_steps."""
    eval_batch_size: Annotated[Count | None, EVALUATED] = None
    """Rows in one forward pass of an evaluation; by default `micro_batch_size`."""
    num_epochs: Annotated[Positive, IgnoredIf(max_steps=True)] = 1.0
    """Passes over the data."""
    max_steps: Count | None = None
    """Stop after this many optimizer steps."""
    learning_rate: Positive
    """Highest learning rate. 2e-4 suits LoRA, 1e-5 to 2e-5 full fine-tuning."""
    optimizer: Annotated[
        str, Requires(LOW_RANK, optim_target_modules=True, reason="such as all_linear or [q_proj]")
    ] = "adamw_torch"
    """Optimizer by the name that transformers gives it, or one of Axolotl's own."""
    optim_args: dict[str, Any] | str | None = None
    """Further arguments of the optimizer."""
    optim_target_modules: Annotated[list[str] | str | None, OnlyFor(optimizer=LOW_RANK)] = None
    """GaLore and APOLLO: modules whose gradient is projected, by name, as a regular expression, or all_linear."""
    embedding_lr: Positive | None = None
    """Learning rate of embeddings and head."""
    embedding_lr_scale: Annotated[Positive | None, Conflicts(SET, embedding_lr=SET)] = None
    """The same as a multiple of `learning_rate`."""
    lr_groups: list[LearningRateGroup] = []
    """Weights with a learning rate of their own; the first group that fits counts."""
    loraplus_lr_ratio: Annotated[
        Positive | None, Requires(adapter=True), Conflicts(SET, lr_groups=SET, embedding_lr=SET, embedding_lr_scale=SET)
    ] = None
    """LoRA+: learning rate of the B matrices as a multiple of `learning_rate`; 16 is usual."""
    loraplus_lr_embedding: Annotated[Positive, OnlyFor(loraplus_lr_ratio=True)] = 1e-6
    """LoRA+: learning rate of adapters on embeddings."""
    lr_scheduler: str = "cosine"
    """Course of the learning rate by the name that transformers gives it, or one_cycle or rex."""
    lr_scheduler_kwargs: dict[str, Any] = {}
    """Further arguments of the schedule."""
    cosine_min_lr_ratio: Annotated[
        Share | None, Requires(lr_scheduler=("cosine", "rex"), jagged_restart_steps=True)
    ] = None
    """Let the cosine (or rex) end at this share of the learning rate; with restarts, fall to it."""
    cosine_constant_lr_ratio: Annotated[
        Share | None,
        Requires(lr_scheduler="cosine"),
        Requires(cosine_min_lr_ratio=SET, reason="the fraction where it ends"),
    ] = None
    """Let the cosine come to its end at this share of the steps, and stay there."""
    lr_quadratic_warmup: Annotated[bool, Requires(lr_scheduler="cosine")] = False
    """Let the learning rate rise as a parabola; for the cosine."""
    lr_div_factor: Annotated[Positive | None, OnlyFor(lr_scheduler="one_cycle")] = None
    """one_cycle: begin at the learning rate divided by this; 25 by default."""
    jagged_restart_steps: Annotated[Count | None, Conflicts(lr_scheduler=(*WATCHING, "one_cycle"))] = None
    """Let the learning rate fall and rise again each so many steps."""
    jagged_restart_warmup_steps: Annotated[Count | None, OnlyFor(jagged_restart_steps=True)] = None
    """Steps over which it rises after a restart; by default 10."""
    jagged_restart_anneal_steps: Annotated[Count | None, OnlyFor(jagged_restart_steps=True)] = None
    """Steps over which it falls before a restart; by default 1."""
    warmup_steps: Annotated[Annotated[int, Field(ge=0)] | Annotated[float, Field(ge=0, lt=1)] | None, NO_WARMUP] = None
    """Steps over which the learning rate rises; below 1, a share of all steps."""
    warmup_ratio: Annotated[Share | None, NO_WARMUP, Conflicts(SET, warmup_steps=SET)] = None
    """The same as a share of all steps. Without either: 3% of the steps, at most 100."""
    weight_decay: NonNegative = 0.0
    """Decay of the weights, norms and biases left out."""
    adam_beta1: Annotated[Share, NOT_READ] = 0.9
    """AdamW: decay of the mean."""
    adam_beta2: Annotated[Share, NOT_READ] = 0.999
    """AdamW: decay of the variance."""
    adam_beta3: Annotated[Share, OnlyFor(optimizer="came_pytorch")] = 0.9999
    """CAME: decay of the confidence."""
    adam_epsilon: Annotated[Positive, NOT_READ, IgnoredIf(optimizer="*lion*", reason="Lion has no such argument")] = (
        1e-8
    )
    """AdamW: the small number in the denominator."""
    adam_epsilon2: Annotated[Positive, OnlyFor(optimizer="came_pytorch")] = 1e-16
    """CAME: the small number of the confidence."""
    max_grad_norm: NonNegative = 1.0
    """Clip gradients to this norm; 0 does not clip."""
    neftune_noise_alpha: Positive | None = None
    """NEFTune: noise on the embeddings."""
    use_eaft: bool = False
    """Weigh each token's loss by the model's uncertainty (entropy-aware fine-tuning); the eval loss stays as it is."""
    eaft_alpha: Annotated[NonNegative, OnlyFor(use_eaft=True)] = 1.0
    """EAFT: exponent of the entropy."""
    eaft_k: Annotated[Count, OnlyFor(use_eaft=True)] = 20
    """EAFT: likeliest tokens that the entropy is computed over."""
    group_by_length: Annotated[bool, IgnoredIf(sample_packing=True)] = False
    """Put rows of like length into one batch."""
    gradient_checkpointing: bool | Literal["offload", "offload_disk"] = False
    """Recompute activations in the backward pass: less memory, a third more time."""
    gradient_checkpointing_kwargs: Annotated[dict[str, Any] | None, OnlyFor(gradient_checkpointing=True)] = None
    """Arguments of torch's checkpoint, such as {use_reentrant: false}."""
    dataloader_num_workers: Annotated[int, Field(ge=0)] = 0
    """Processes that load batches; tokens are ready on disk, so none is needed."""
    dataloader_prefetch_factor: Annotated[Count | None, OnlyFor(dataloader_num_workers=True)] = None
    """Batches that each of these processes loads in advance."""
    dataloader_pin_memory: bool = True
    """Load batches into memory that a GPU copies faster."""
    dataloader_drop_last: bool = False
    """Leave out the last batch of an epoch if it is not full."""
    accelerator_config: dict[str, Any] | None = None
    """accelerate's settings for loading: dispatch_batches, even_batches, use_seedable_sampler, non_blocking, ..."""
    ddp_find_unused_parameters: bool | None = None
    """Distributed runs: search for parameters without gradient."""
    logging_steps: Count | None = None
    """Print and record a line each so many steps; by default about 20 lines a run, and at least each 10 steps."""
    eval_strategy: Annotated[Literal["no", "steps", "epoch"] | None, EVALUATED] = None
    """When to evaluate during training; follows from eval_steps or evals_per_epoch if those are set."""
    eval_steps: Annotated[Positive | None, Requires(SET, eval_strategy=(None, "steps"))] = None
    """Evaluate each so many steps; below 1, a share of the run."""
    evals_per_epoch: Annotated[
        Annotated[int, Field(ge=0)] | None,
        EVALUATED,
        Conflicts(SET, eval_steps=SET),
        Requires(SET, eval_strategy=(None, "steps")),
    ] = None
    """Evaluations in one pass over the data; 0 for none."""
    save_strategy: Literal["no", "steps", "epoch", "best"] | None = None
    """When to save checkpoints; by default each epoch; `best`: after each evaluation that is the best so far."""
    save_steps: Annotated[Positive | None, Requires(SET, save_strategy=(None, "steps"))] = None
    """Save each so many steps; below 1, a share of the run."""
    saves_per_epoch: Annotated[
        Annotated[int, Field(ge=0)] | None, Requires(SET, save_strategy=(None, "steps")), Conflicts(SET, save_steps=SET)
    ] = None
    """Checkpoints in one pass over the data; 0 for none."""
    save_total_limit: Annotated[Count, IgnoredIf(save_strategy="no")] = 4
    """Checkpoints kept; older ones are removed."""
    save_only_model: Annotated[
        bool, Conflicts(auto_resume_from_checkpoints=True, reason="no run can resume from such checkpoints")
    ] = False
    """Checkpoints without the optimizer: a third of the size or less, but no run can go on from them."""
    save_first_step: bool = False
    """Save a checkpoint after the first step too, to see early that saving works."""
    dynamic_checkpoint: DynamicCheckpoint | None = None
    """Save a checkpoint whenever somebody makes a file."""
    resume_from_checkpoint: Annotated[str | None, ModelPath()] = None
    """Checkpoint folder to go on from."""
    auto_resume_from_checkpoints: bool = False
    """Go on from the last checkpoint in output_dir, if there is one."""
    load_best_model_at_end: bool = False
    """End with the best checkpoint."""
    metric_for_best_model: Annotated[str, BEST] = "eval_loss"
    """What the best checkpoint, early stopping and schedules go by: eval_loss or eval_perplexity."""
    greater_is_better: Annotated[bool, BEST] = False
    """Whether more of it is better."""
    early_stopping_patience: Count | None = None
    """Stop after this many evaluations without a gain."""
    profiler_steps: Count | None = None
    """Write a trace of this many steps to profiler_trace.json of output_dir, for ui.perfetto.dev."""
    profiler_steps_start: Annotated[int, Field(ge=0), OnlyFor(profiler_steps=True)] = 0
    """The first of them, counted from 0."""
    torch_empty_cache_steps: Count | None = None
    """Give the GPU's unused memory back each so many steps: slower, less memory."""
    gc_collect_steps: Count | None = None
    """Let Python collect what is no longer used each so many steps."""
    loss_watchdog_threshold: Positive | None = None
    """A loss above this counts as broken."""
    loss_watchdog_patience: Annotated[Count | None, OnlyFor(loss_watchdog_threshold=True)] = None
    """Stop after this many broken steps in a row; by default 3."""

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
