"""The training itself."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator

from tunesmith.config.sections.section import Count, NonNegative, Section, Share


class TrainingSection(Section):
    """How the weights are trained, logged, evaluated and saved."""

    output_dir: str = "./model-out"
    """Folder of the run: checkpoints, the result, and the record in run/."""
    seed: int = 42
    """Seed of shuffling, initial adapter weights and dropout."""
    micro_batch_size: Count = 1
    """Rows (packed rows with packing) in one forward pass on one device."""
    gradient_accumulation_steps: Count = 1
    """Forward passes before each optimizer step."""
    batch_size: Count | None = None
    """Rows in one optimizer step on one device; takes the place of gradient_accumulation_steps."""
    eval_batch_size: Count | None = None
    """Rows in one forward pass of an evaluation; by default `micro_batch_size`."""
    num_epochs: Annotated[float, Field(gt=0)] = 1.0
    """Passes over the data."""
    max_steps: Count | None = None
    """Stop after this many optimizer steps."""
    learning_rate: Annotated[float, Field(gt=0)]
    """Highest learning rate. 2e-4 suits LoRA, 1e-5 to 2e-5 full fine-tuning."""
    optimizer: str = "adamw_torch"
    """Optimizer by the name that transformers gives it."""
    optim_args: dict[str, Any] | str | None = None
    """Further arguments of the optimizer."""
    lr_scheduler: str = "cosine"
    """Course of the learning rate by the name that transformers gives it."""
    lr_scheduler_kwargs: dict[str, Any] = {}
    """Further arguments of the schedule."""
    cosine_min_lr_ratio: Share | None = None
    """Let the cosine end at this share of the learning rate."""
    warmup_steps: Annotated[int, Field(ge=0)] | None = None
    """Steps over which the learning rate rises."""
    warmup_ratio: Share | None = None
    """The same as a share of all steps. Without either: 3% of the steps, at most 100."""
    weight_decay: NonNegative = 0.0
    """Decay of the weights in AdamW."""
    adam_beta1: Share = 0.9
    """AdamW: decay of the mean."""
    adam_beta2: Share = 0.999
    """AdamW: decay of the variance."""
    adam_epsilon: Annotated[float, Field(gt=0)] = 1e-8
    """AdamW: the small number in the denominator."""
    max_grad_norm: NonNegative = 1.0
    """Clip gradients to this norm; 0 does not clip."""
    neftune_noise_alpha: Annotated[float, Field(gt=0)] | None = None
    """NEFTune: noise on the embeddings."""
    gradient_checkpointing: bool = False
    """Recompute activations in the backward pass: less memory, a third more time."""
    gradient_checkpointing_kwargs: dict[str, Any] | None = None
    """Arguments of torch's checkpoint, such as {use_reentrant: false}."""
    dataloader_num_workers: Annotated[int, Field(ge=0)] = 0
    """Processes that load batches; tokens are ready on disk, so none is needed."""
    ddp_find_unused_parameters: bool | None = None
    """Distributed runs: search for parameters without gradient."""
    logging_steps: Count | None = None
    """Print and record a line each so many steps; by default about 20 lines a run, and at least each 10 steps."""
    eval_strategy: Literal["no", "steps", "epoch"] | None = None
    """When to evaluate during training; follows from eval_steps or evals_per_epoch if those are set."""
    eval_steps: Annotated[float, Field(gt=0)] | None = None
    """Evaluate each so many steps; below 1, a share of the run."""
    evals_per_epoch: Count | None = None
    """Evaluations in one pass over the data."""
    save_strategy: Literal["no", "steps", "epoch"] | None = None
    """When to save checkpoints; by default each epoch."""
    save_steps: Annotated[float, Field(gt=0)] | None = None
    """Save each so many steps; below 1, a share of the run."""
    saves_per_epoch: Count | None = None
    """Checkpoints in one pass over the data."""
    save_total_limit: Count = 4
    """Checkpoints kept; older ones are removed."""
    resume_from_checkpoint: str | None = None
    """Checkpoint folder to go on from."""
    auto_resume_from_checkpoints: bool = False
    """Go on from the last checkpoint in output_dir, if there is one."""
    load_best_model_at_end: bool = False
    """End with the checkpoint of the lowest eval loss."""
    early_stopping_patience: Count | None = None
    """Stop after this many evaluations without a lower eval loss."""
    loss_watchdog_threshold: Annotated[float, Field(gt=0)] | None = None
    """A loss above this counts as broken."""
    loss_watchdog_patience: Count | None = None
    """Stop after this many broken steps in a row; by default 3."""

    @field_validator("eval_strategy", "save_strategy", mode="before")
    @classmethod
    def _bare_no(cls, value: Any) -> Any:
        """YAML reads a bare `no` as false."""
        return "no" if value is False else value
