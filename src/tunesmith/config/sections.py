"""The sections of a config. A field's name is the YAML key; the text under it is its documentation.

Sections only hold and check single values. Rules across keys are in `rules.py`; keys that have another fate than
being supported are in `keys.py`.
"""

from typing import Annotated, Any, Literal, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.fields import FieldInfo
from pydantic_core.core_schema import ValidationInfo

Count = Annotated[int, Field(ge=1)]
Share = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]

ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant"}
"""Names of roles in common datasets -> the names that templates know."""


class Section(BaseModel):
    """A frozen group of keys that belong together."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, protected_namespaces=()
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_boolean_as_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse `lora_r: true`, which pydantic would read as 1."""
        if isinstance(value, bool) and info.field_name and not _takes_bool(cls.model_fields[info.field_name]):
            raise ValueError("does not take true or false")
        return value


def _takes_bool(field: FieldInfo) -> bool:
    annotation = field.annotation
    return bool in (annotation, *get_args(annotation)) or Any in (annotation, *get_args(annotation))


class SpecialTokens(Section):
    """Special tokens to set on the tokenizer."""

    bos_token: str | None = None
    """Token that begins a text."""
    eos_token: str | None = None
    """Token that ends a text or a turn."""
    pad_token: str | None = None
    """Token that fills up short rows; masked by position, so that it may equal the end token."""
    unk_token: str | None = None
    """Token for what the vocabulary lacks."""


class ModelSection(Section):
    """Which model is tuned, and in what precision."""

    base_model: str
    """Model to start from: `builtin/smollm2-135m-instruct`, a Hub repository, or a folder."""
    revision_of_model: str | None = None
    """Branch, tag or commit of the Hub repository."""
    tokenizer_config: str | None = None
    """Folder or repository of the tokenizer, if not that of the model."""
    trust_remote_code: bool = False
    """Run Python code that comes with the model. Only for repositories that you trust."""
    load_in_4bit: bool = False
    """Load the base weights in 4 bits (nf4), for QLoRA."""
    load_in_8bit: bool = False
    """Load the base weights in 8 bits."""
    bf16: bool | Literal["auto", "full"] = "auto"
    """bfloat16: `auto` uses it where the machine computes in it; `full` keeps trained weights in it too."""
    fp16: bool = False
    """float16 mixed precision, for GPUs without bf16."""
    tf32: bool | Literal["auto"] = "auto"
    """TF32 matrix products on NVIDIA GPUs, for what is left in fp32."""
    attn_implementation: str | None = None
    """Attention code of transformers: sdpa, eager, flash_attention_2, ... Unset: the best of the machine."""
    special_tokens: SpecialTokens = SpecialTokens()
    """Special tokens to set."""
    chat_template: str | None = None
    """Chat template of all datasets: `tokenizer_default`, a named one, or `jinja`."""
    chat_template_jinja: str | None = None
    """The template's text, or the file that holds it, for `chat_template: jinja`."""
    chat_template_kwargs: dict[str, Any] = {}
    """Variables for the chat template, such as {enable_thinking: false}."""
    eot_tokens: list[str] | None = None
    """Tokens that end a turn, besides the end token."""
    default_system_message: str | None = None
    """System text of sharegpt's chatml and llama3 layouts where a row has none."""


class AdapterSection(Section):
    """What is trained: a small adapter, or (without `adapter`) all weights."""

    adapter: Literal["lora", "qlora"] | None = None
    """`lora`, `qlora` (LoRA on a 4-bit base), or nothing for full fine-tuning."""
    lora_r: Count | None = None
    """Rank of the adapter: 8 to 64 is usual."""
    lora_alpha: Annotated[float, Field(gt=0)] | None = None
    """Scale of the adapter (applied as alpha / r); by default twice the rank."""
    lora_dropout: Share = 0.0
    """Dropout before the adapter, 0 to 0.1."""
    lora_target_modules: list[str] | str | None = None
    """Names of the layers to adapt, or a regular expression."""
    lora_target_linear: bool = False
    """Adapt every linear layer but the head."""
    lora_modules_to_save: list[str] | None = None
    """Layers trained and saved whole beside the adapter, such as embed_tokens and lm_head."""
    lora_fan_in_fan_out: bool = False
    """Weights are stored transposed (GPT-2's Conv1D)."""
    peft_use_dora: bool = False
    """DoRA: train magnitude and direction apart."""
    peft_use_rslora: bool = False
    """Rank-stabilised scale, alpha / sqrt(r)."""
    lora_model_dir: str | None = None
    """Adapter to start from (train) or to use (inference, evaluate, merge-lora)."""


class Dataset(Section):
    """One entry of `datasets` or `test_datasets`."""

    path: str
    """File, folder, or Hub dataset."""
    type: str | dict[str, Any] | None = None
    """Layout of the rows: chat_template, alpaca, completion, ..., `file.py:function`, or a mapping of columns."""
    ds_type: Literal["json", "jsonl", "csv", "parquet", "arrow"] | None = None
    """Kind of file, where its name does not tell."""
    name: str | None = None
    """Configuration of a Hub dataset."""
    split: str | None = None
    """Split of a Hub dataset, such as train or train[:5%]."""
    revision: str | None = None
    """Branch, tag or commit of a Hub dataset."""
    data_files: list[str] | str | None = None
    """Files inside the folder or the Hub dataset."""
    shards: Count | None = None
    """Take one of this many equal parts of the dataset."""
    shards_idx: Annotated[int, Field(ge=0)] = 0
    """Which part, counted from 0."""
    mask: Literal["served", "axolotl"] | None = None
    """Whose labels, in place of the file's `mask`."""
    field: str = "text"
    """completion: column of the text."""
    text_column: str | None = None
    """pretrain: column of the text; another name of `field`."""
    skip: Annotated[int, Field(ge=0)] = 0
    """pretrain: rows to leave out at the start."""
    field_instruction: str = "instruction"
    """alpaca: column of the instruction."""
    field_input: str = "input"
    """alpaca: column of the input."""
    field_output: str = "output"
    """alpaca: column of the answer."""
    field_system: str = "system"
    """Column of the system text, for layouts that have one in a column of its own."""
    field_messages: str | None = None
    """Column of the messages; by default messages, or conversations for sharegpt."""
    field_tools: str = "tools"
    """chat_template: column of the tool schemas."""
    field_thinking: str = "reasoning_content"
    """chat_template: message key of the reasoning."""
    template_thinking_key: str = "reasoning_content"
    """chat_template: name under which the template knows the reasoning."""
    field_chosen: str = "chosen"
    """Preference data: column of the better answer."""
    field_rejected: str = "rejected"
    """Preference data: column of the worse answer."""
    message_property_mappings: dict[str, str] = {}
    """chat_template: names of role and content in a message, such as {role: from, content: value}."""
    message_field_role: str | None = None
    """Old form of message_property_mappings.role."""
    message_field_content: str | None = None
    """Old form of message_property_mappings.content."""
    message_field_training: str | None = None
    """chat_template: message key that switches training of its turn on or off."""
    message_field_training_detail: str | None = None
    """chat_template: message key of [{begin_offset, end_offset, train}], the characters that are trained."""
    roles: dict[str, list[str]] = {}
    """Further names of a role, such as {assistant: [gpt, model]}; for sharegpt {input: [...], output: [...]}."""
    roles_to_train: list[str] = ["assistant"]
    """chat_template: roles whose turns are trained."""
    train_on_eos: Literal["turn", "all", "last", "none"] | None = "turn"
    """chat_template: train the end token of trained turns, of all turns, of the last turn, or of none."""
    train_on_eot: Literal["turn", "all", "last", "none"] | None = None
    """chat_template: the same for the tokens in `eot_tokens`; by default as `train_on_eos`."""
    split_thinking: bool = False
    """chat_template: take <think>...</think> out of the content as reasoning."""
    drop_system_message: bool = False
    """chat_template: leave out a system turn at the start."""
    chat_template: str | None = None
    """Chat template of this dataset, in place of the file's."""
    chat_template_jinja: str | None = None
    """Text or file of this dataset's template, for `chat_template: jinja`."""
    conversation: str | None = None
    """sharegpt: layout by its FastChat name (vicuna_v1.1, chatml, llama3, alpaca, ...); alpaca_chat: its style."""
    field_human: str | None = None
    """sharegpt: name of the user's role; by default human."""
    field_model: str | None = None
    """sharegpt: name of the model's role; by default gpt."""
    strict: bool = False
    """sharegpt: take roles and keys as they stand (from, value), without guessing."""
    step_separator: str = "\n"
    """stepwise_supervised: text after each step."""
    max_completion_length: Count | None = None
    """stepwise_supervised: longest answer in tokens."""
    train_on_last_step_only: bool = False
    """stepwise_supervised: train the label of the last step alone."""

    @property
    def kind(self) -> str:
        """The type by name; `user_defined` for a mapping."""
        return "user_defined" if isinstance(self.type, dict) else self.type or ""

    def common_role(self, name: str) -> str:
        """Return a role by the name that templates know."""
        own = {alias: role for role, aliases in self.roles.items() for alias in aliases}
        return own.get(name) or ROLES.get(name, name)


class DataSection(Section):
    """Which rows are trained, and how they become tokens."""

    datasets: Annotated[list[Dataset], Field(min_length=1)]
    """Data to train on."""
    mask: Literal["served", "axolotl"] = "served"
    """Whose labels: `served` trains what the model must emit when served; `axolotl` repeats Axolotl's."""
    test_datasets: list[Dataset] = []
    """Data to evaluate on, in place of `val_set_size`."""
    val_set_size: NonNegative = 0.0
    """Rows to hold out from the training data: a share up to 1, a number above."""
    rl: Literal["dpo", "ipo", "kto", "orpo", "simpo"] | None = None
    """Kind of preference data. Its layouts are read; its training is not supported yet."""
    dataset_prepared_path: str = "last_run_prepared"
    """Folder of prepared (tokenised) data."""
    sequence_len: Count = 512
    """Longest row in tokens; with packing, the length of a packed row."""
    sample_packing: bool = False
    """Put many rows into one sequence; they do not see each other."""
    eval_sample_packing: bool | None = None
    """The same for evaluation; by default as `sample_packing`."""
    train_on_inputs: bool = False
    """Train on the prompts too, not only on the answers."""
    excess_length_strategy: Literal["drop", "truncate", "raise"] = "drop"
    """What to do with a row over `sequence_len`."""
    min_sample_len: Count = 2
    """Drop rows with fewer tokens."""
    bad_rows: Literal["drop", "error"] = "drop"
    """A row at fault is dropped and reported, or ends the run. Over a tenth of a file bad always ends it."""
    data_checks: Literal["error", "warn", "off"] = "error"
    """What `train` does with faults of the tokenizer, template and first rows: stop, only warn, or not look."""
    shuffle_merged_datasets: bool = True
    """Shuffle the rows of all datasets together, by `seed`."""

    @field_validator("rl", "data_checks", mode="before")
    @classmethod
    def _bare_off(cls, value: Any, info: ValidationInfo) -> Any:
        """YAML reads a bare `off` as false."""
        return ("off" if info.field_name == "data_checks" else None) if value is False else value


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


class Evaluation(Section):
    """The `evaluation:` block."""

    assertions: str | None = None
    """Python file whose `test_*` functions judge an answer."""
    max_new_tokens: Count = 256
    """Longest answer generated, in tokens."""
    max_rows: Count | None = None
    """Generate answers for at most this many held-out rows; by default for all."""
    batch_size: Count = 16
    """Answers generated at once."""


class EvaluationSection(Section):
    """How `evaluate` judges the model."""

    evaluation: Evaluation = Evaluation()
    """Assertions and how answers are generated."""


class Config(Section):
    """A whole config, checked. Functions take the section that they use; only commands see it whole."""

    source: str
    model: ModelSection
    adapter: AdapterSection
    data: DataSection
    training: TrainingSection
    evaluation: EvaluationSection
    values: dict[str, Any]
    """The keys that the user set, resolved, for the record of a run."""
    notes: tuple[str, ...] = ()
    """What happened to keys that are not taken as they stand, to be printed."""


SECTIONS: dict[str, type[Section]] = {
    "model": ModelSection,
    "adapter": AdapterSection,
    "data": DataSection,
    "training": TrainingSection,
    "evaluation": EvaluationSection,
}

OWNER = {key: name for name, section in SECTIONS.items() for key in section.model_fields}
"""Key -> name of its section."""
