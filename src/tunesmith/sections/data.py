"""The data: entries of `datasets`, and how rows become tokens."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_core.core_schema import ValidationInfo

from tunesmith.sections.fields import (
    EVALUATED,
    SET,
    CodePath,
    Conflicts,
    FilePath,
    IgnoredIf,
    OnlyFor,
    OutputPath,
    Requires,
)
from tunesmith.sections.section import Count, NonNegative, Section

ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant"} | dict.fromkeys(
    ("observation", "tool_response", "function_response"), "tool"
)
"""Roles in common datasets -> roles in chat templates."""
SERVER_ROLES = ("system", "developer", "user", "assistant", "tool", "function")
"""Roles that a server's API takes."""


class Dataset(Section):
    """One entry of `datasets` or `test_datasets`."""

    path: Annotated[str, FilePath()]
    """File, pattern such as data/*.jsonl, folder, Hub dataset, or `https://` URL of a file."""
    type: Annotated[str | dict[str, Any] | None, CodePath()] = None
    """Dataset type: chat_template, alpaca, completion, ..., `file.py:function`, or a mapping of columns."""
    ds_type: Literal["json", "jsonl", "csv", "parquet", "arrow", "text"] | None = None
    """File type, if the file name doesn't show it."""
    name: list[str] | str | None = None
    """Configuration of a Hub dataset, or a list of them; for `test_datasets`, also the name of its loss."""
    split: str | None = None
    """Split, such as train, or a slice of one: train[:5%], train[100:200]."""
    streaming: bool | None = None
    """Stream a Hub dataset, only as far as the run needs it. Default: `streaming` of the file."""
    revision: str | None = None
    """Branch, tag or commit of a Hub dataset."""
    data_files: Annotated[dict[str, list[str] | str] | list[str] | str | None, OutputPath()] = None
    """Files inside the folder or the Hub dataset, as names or patterns; or a mapping of split to files."""
    shards: Count | None = None
    """Take one of this many equal parts of the dataset."""
    shards_idx: Annotated[int, Field(ge=0), Requires(shards=True)] = 0
    """Index of the part, from 0."""
    mask: Literal["served", "axolotl"] | None = None
    """Loss mask of this dataset, instead of the file's `mask`."""
    filters: Annotated[list[str], FilePath(), CodePath()] = []
    """Assertions that remove rows before tokenization: `file.py`, `file.py:function`, or a list of these."""
    field: str = "text"
    """completion: column of the text."""
    text_column: str | None = None
    """pretrain: column of the text; another name of `field`."""
    skip: Annotated[int, Field(ge=0)] = 0
    """Number of rows to skip at the start."""
    field_instruction: str = "instruction"
    """alpaca: column of the instruction."""
    field_input: str = "input"
    """alpaca: column of the input."""
    field_output: str = "output"
    """alpaca: column of the answer."""
    field_system: str = "system"
    """Column of the system message, for types that have one in a column."""
    field_messages: str | None = None
    """Column of the messages. Default: messages, or conversations for sharegpt."""
    field_tools: str = "tools"
    """chat_template: column of the tool schemas."""
    field_thinking: str = "reasoning_content"
    """chat_template: key of the reasoning in a message."""
    template_thinking_key: str = "reasoning_content"
    """chat_template: name of the reasoning in the template."""
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
    """chat_template: key of a message that says whether it is in the loss."""
    message_field_training_detail: str | None = None
    """chat_template: key of a message with [{begin_offset, end_offset, train}], the characters in the loss."""
    roles: dict[str, list[str]] = {}
    """Further names of a role, such as {assistant: [gpt, model]}; for sharegpt {input: [...], output: [...]}."""
    roles_to_train: list[str] = ["assistant"]
    """chat_template: roles whose messages are in the loss."""
    train_on_eos: Literal["turn", "all", "last", "none"] | None = "turn"
    """chat_template: which EOS tokens are in the loss: of turns in the loss, all, the last, or none."""
    train_on_eot: Literal["turn", "all", "last", "none"] | None = None
    """chat_template: the same for the tokens in `eot_tokens`. Default: `train_on_eos`."""
    split_thinking: bool = False
    """chat_template: split <think>...</think> from the content as reasoning."""
    drop_system_message: bool = False
    """chat_template: remove a system message at the start."""
    chat_template: Annotated[str | None, Requires("jinja", chat_template_jinja=True)] = None
    """Chat template of this dataset, instead of the file's."""
    chat_template_jinja: Annotated[str | None, FilePath(inline="{")] = None
    """Text or file of this dataset's template, for `chat_template: jinja`."""
    conversation: str | None = None
    """sharegpt: FastChat style (vicuna_v1.1, chatml, llama3, alpaca, ...); alpaca_chat: its style."""
    field_human: str | None = None
    """sharegpt: name of the user's role; default: human."""
    field_model: str | None = None
    """sharegpt: name of the model's role; default: gpt."""
    strict: bool = False
    """sharegpt: use the keys from and value and the roles as they are, without detection."""
    step_separator: str = "\n"
    """stepwise_supervised: text after each step."""
    max_completion_length: Count | None = None
    """stepwise_supervised: maximum length of an answer, in tokens."""
    train_on_last_step_only: bool = False
    """stepwise_supervised: only the label of the last step is in the loss."""
    ignored_columns: list[str] = []
    """Columns, and keys of messages, that are not read on purpose, besides bookkeeping such as id and source."""

    @field_validator("filters", mode="before", json_schema_input_type=list[str] | str | None)
    @classmethod
    def _one_or_several(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value or []

    @property
    def kind(self) -> str:
        """The type by name; `user_defined` for a mapping."""
        return "user_defined" if isinstance(self.type, dict) else self.type or ""

    def common_role(self, name: str) -> str:
        """Return a role by the name that templates know."""
        custom_roles = {alias: role for role, aliases in self.roles.items() for alias in aliases}
        lower = name.lower()
        return custom_roles.get(name) or ROLES.get(lower) or (lower if lower in SERVER_ROLES else name)


class DataSection(Section):
    """Which rows are trained on, and how they are tokenized."""

    streaming: Annotated[
        bool,
        Requires(max_steps=True, reason="it says how much is read"),
        Conflicts(val_set_size=True, reason="a stream has no end to split off; set `test_datasets`"),
        Conflicts(dataset_exact_deduplication=True, reason="a part of a stream does not show which rows come again"),
    ] = False
    """Read `datasets` only as far as `max_steps` needs, and those of the Hub without a complete download."""
    datasets: Annotated[list[Dataset], Field(min_length=1)]
    """Data to train on."""
    mask: Literal["served", "axolotl"] = "served"
    """Loss mask: `served` puts what the model must generate in the loss; `axolotl` gives the same labels as Axolotl."""
    test_datasets: list[Dataset] = []
    """Data to evaluate on, instead of `val_set_size`; with several, each has its own loss too."""
    val_set_size: Annotated[NonNegative, Conflicts(test_datasets=True)] = 0.0
    """Eval rows taken from the training data: a fraction up to 1, a number of rows above."""
    train_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Train on this fraction of the train rows, drawn by `data_seed`; a smaller subset is part of a larger one."""
    rl: str | None = None
    """Preference objective: on pairs of completions (dpo, ipo, simpo, orpo), or on single ones with a label (kto)."""
    dataset_prepared_path: Annotated[str, OutputPath()] = "last_run_prepared"
    """Folder of prepared (tokenized) data."""
    hf_use_auth_token: bool = False
    """The Hub data needs a token: stop early if there is none. A token is used in any case."""
    sequence_len: Count = 512
    """Maximum length of a row in tokens; with packing, the length of a packed sequence."""
    eval_sequence_len: Annotated[Count | None, OnlyFor(test_datasets=True)] = None
    """The same for `test_datasets`. Default: `sequence_len`."""
    sample_packing: bool = False
    """Pack several rows into one sequence, with block-diagonal attention per row."""
    sample_packing_sequentially: Annotated[bool, OnlyFor(sample_packing=True)] = False
    """Pack rows in their order, instead of best-fit decreasing."""
    curriculum_sampling: Annotated[bool, Conflicts(group_by_length=True)] = False
    """Train on the rows in the order of the files: no shuffling, and no reordering when packing."""
    eval_sample_packing: Annotated[bool | None, EVALUATED, IgnoredIf(rl=True)] = None
    """`sample_packing` for evaluation. Default: the same."""
    train_on_inputs: bool = False
    """Prompts are in the loss too, not only completions."""
    excess_length_strategy: Literal["drop", "truncate", "raise"] = "drop"
    """What to do with a row longer than `sequence_len`."""
    min_sample_len: Count = 2
    """Drop rows with fewer tokens."""
    bad_rows: Literal["drop", "error"] = "drop"
    """An invalid row is dropped and reported, or ends the run. More than 10% invalid rows in a file always end it."""
    data_checks: Literal["error", "warn", "off"] = "error"
    """What `train` does about errors of the tokenizer, template and first rows: stop, warn, or skip the check."""
    shuffle_merged_datasets: bool = True
    """Shuffle the concatenated rows of all datasets, by `seed`."""
    shuffle_before_merging_datasets: bool = False
    """Shuffle the rows of each dataset separately, by `seed`, before they are concatenated."""
    dataset_exact_deduplication: bool = False
    """Keep only the first of samples with equal tokens and labels, in train and eval data."""
    dataset_shard_num: Annotated[Count | None, Requires(dataset_shard_idx=SET)] = None
    """Train and evaluate on one of this many equal parts of the prepared data."""
    dataset_shard_idx: Annotated[Annotated[int, Field(ge=0)] | None, Requires(SET, dataset_shard_num=True)] = None
    """Index of the part, from 0."""
    pretrain_multipack_attn: bool = True
    """Attention is block-diagonal per document in a packed sequence. It always is here, so only true is taken."""

    @field_validator("data_checks", mode="before")
    @classmethod
    def _bare_off(cls, value: Any) -> Any:
        """YAML reads a bare `off` as false."""
        return "off" if value is False else value

    @field_validator("rl", mode="before", json_schema_input_type=str | Literal[False] | None)
    @classmethod
    def _no_online_learning(cls, value: Any) -> Any:
        if value in ("grpo", "gdpo", "ebft"):
            raise ValueError(
                f"is {value}: online reinforcement learning needs a generation server; it is not supported. "
                "`rl: dpo` trains on pairs of answers"
            )
        return None if value is False else value

    @field_validator("dataset_prepared_path", mode="before")
    @classmethod
    def _default_folder(cls, value: Any) -> Any:
        return value or "last_run_prepared"

    @field_validator("val_set_size")
    @classmethod
    def _share_or_rows(cls, value: float) -> float:
        if value > 1 and value % 1:
            raise ValueError(f"is a fraction up to 1, or a whole number of rows; found {value:g}")
        return value

    @field_validator("pretrain_multipack_attn")
    @classmethod
    def _only_apart(cls, value: bool) -> bool:
        if not value:
            raise ValueError("takes true only: attention is always block-diagonal per document here")
        return value

    @field_validator("datasets", "test_datasets")
    @classmethod
    def _one_by_one(cls, entries: list[Dataset], info: ValidationInfo) -> list[Dataset]:
        """Return an entry for each name of a list of names, and give those to train on the file's `streaming`."""
        expanded_entries = []
        for entry in entries:
            if info.field_name == "datasets" and entry.streaming is None and info.data.get("streaming"):
                entry = entry.model_copy(update={"streaming": True})
            names = entry.name if isinstance(entry.name, list) else []
            expanded_entries += [entry.model_copy(update={"name": name}) for name in names] or [entry]
        return expanded_entries

    @property
    def shuffles(self) -> bool:
        """Whether the rows of all datasets are shuffled together."""
        return self.shuffle_merged_datasets and not self.curriculum_sampling

    def for_tests(self) -> "DataSection":
        """Return the settings with which `test_datasets` are prepared."""
        return self.model_copy(update={"sequence_len": self.eval_sequence_len or self.sequence_len})
