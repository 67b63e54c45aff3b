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

ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant"}
"""Names of roles in common datasets -> the names that templates know."""


class Dataset(Section):
    """One entry of `datasets` or `test_datasets`."""

    path: Annotated[str, FilePath()]
    """File, folder, Hub dataset, or `https://` address of a file."""
    type: Annotated[str | dict[str, Any] | None, CodePath()] = None
    """Layout of the rows: chat_template, alpaca, completion, ..., `file.py:function`, or a mapping of columns."""
    ds_type: Literal["json", "jsonl", "csv", "parquet", "arrow", "text"] | None = None
    """Kind of file, where its name does not tell."""
    name: list[str] | str | None = None
    """Configuration of a Hub dataset, or several, each read in turn; for `test_datasets`, name of its loss too."""
    split: str | None = None
    """Split, such as train; with a part of it in brackets: train[:5%], train[100:200]."""
    streaming: bool | None = None
    """Read a Hub dataset as it comes, only as far as the run needs it; by default as the file's `streaming`."""
    revision: str | None = None
    """Branch, tag or commit of a Hub dataset."""
    data_files: Annotated[list[str] | str | None, OutputPath()] = None
    """Files inside the folder or the Hub dataset."""
    shards: Count | None = None
    """Take one of this many equal parts of the dataset."""
    shards_idx: Annotated[int, Field(ge=0), Requires(shards=True)] = 0
    """Which part, counted from 0."""
    mask: Literal["served", "axolotl"] | None = None
    """Whose labels, in place of the file's `mask`."""
    filters: Annotated[list[str], FilePath(), CodePath()] = []
    """Assertions that leave out rows before they are tokenised: `file.py`, `file.py:function`, or a list of these."""
    field: str = "text"
    """completion: column of the text."""
    text_column: str | None = None
    """pretrain: column of the text; another name of `field`."""
    skip: Annotated[int, Field(ge=0)] = 0
    """Rows to leave out at the start."""
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
    chat_template: Annotated[str | None, Requires("jinja", chat_template_jinja=True)] = None
    """Chat template of this dataset, in place of the file's."""
    chat_template_jinja: Annotated[str | None, FilePath(inline="{")] = None
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
        own = {alias: role for role, aliases in self.roles.items() for alias in aliases}
        return own.get(name) or ROLES.get(name, name)


class DataSection(Section):
    """Which rows are trained, and how they become tokens."""

    streaming: Annotated[
        bool,
        Requires(max_steps=True, reason="it says how much is read"),
        Conflicts(val_set_size=True, reason="a stream has no end to split off; set `test_datasets`"),
        Conflicts(dataset_exact_deduplication=True, reason="a part of a stream does not show which rows come again"),
    ] = False
    """Read `datasets` only as far as `max_steps` needs them, and those of the Hub without downloading them whole."""
    datasets: Annotated[list[Dataset], Field(min_length=1)]
    """Data to train on."""
    mask: Literal["served", "axolotl"] = "served"
    """Whose labels: `served` trains what the model must emit when served; `axolotl` repeats Axolotl's."""
    test_datasets: list[Dataset] = []
    """Data to evaluate on, in place of `val_set_size`; of several, each has a loss of its own too."""
    val_set_size: Annotated[NonNegative, Conflicts(test_datasets=True)] = 0.0
    """Rows to hold out from the training data: a share up to 1, a number above."""
    train_share: Annotated[float, Field(gt=0, le=1)] = 1.0
    """Train on this share of the rows that are not held out, drawn by `seed`; a smaller share lies in a larger one."""
    rl: str | None = None
    """Train on preferences: on pairs of answers (dpo, ipo, simpo, orpo), or on answers that are good or bad (kto)."""
    dataset_prepared_path: Annotated[str, OutputPath()] = "last_run_prepared"
    """Folder of prepared (tokenised) data."""
    hf_use_auth_token: bool = False
    """Data of the Hub needs a token: stop early if there is none. A token that is there is used in any case."""
    sequence_len: Count = 512
    """Longest row in tokens; with packing, the length of a packed row."""
    eval_sequence_len: Annotated[Count | None, OnlyFor(test_datasets=True)] = None
    """The same for `test_datasets`; by default `sequence_len`."""
    sample_packing: bool = False
    """Put many rows into one sequence; they do not see each other."""
    sample_packing_sequentially: Annotated[bool, OnlyFor(sample_packing=True)] = False
    """Fill the sequences with rows in their order, in place of the packing that wastes least."""
    curriculum_sampling: Annotated[bool, Conflicts(group_by_length=True)] = False
    """Train on the rows in the order of the files, neither shuffled nor, if they are packed, rearranged."""
    eval_sample_packing: Annotated[bool | None, EVALUATED, IgnoredIf(rl=True)] = None
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
    shuffle_before_merging_datasets: bool = False
    """Shuffle the rows of each dataset by themselves, by `seed`, before they are put one after the other."""
    dataset_exact_deduplication: bool = False
    """Keep the first of samples with the same tokens and labels, in the training and in the test data."""
    dataset_shard_num: Annotated[Count | None, Requires(dataset_shard_idx=SET)] = None
    """Train and evaluate on one of this many equal parts of the prepared data."""
    dataset_shard_idx: Annotated[Annotated[int, Field(ge=0)] | None, Requires(SET, dataset_shard_num=True)] = None
    """Which part, counted from 0."""
    pretrain_multipack_attn: bool = True
    """Documents in one sequence do not see each other; they never do here, so that only true is taken."""

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
            raise ValueError(f"is a share up to 1, or a whole number of rows; found {value:g}")
        return value

    @field_validator("pretrain_multipack_attn")
    @classmethod
    def _only_apart(cls, value: bool) -> bool:
        if not value:
            raise ValueError("takes true only: documents in one sequence never see each other here")
        return value

    @field_validator("datasets", "test_datasets")
    @classmethod
    def _one_by_one(cls, entries: list[Dataset], info: ValidationInfo) -> list[Dataset]:
        """Return an entry for each name of a list of names, and give those to train on the file's `streaming`."""
        found = []
        for entry in entries:
            if info.field_name == "datasets" and entry.streaming is None and info.data.get("streaming"):
                entry = entry.model_copy(update={"streaming": True})
            names = entry.name if isinstance(entry.name, list) else []
            found += [entry.model_copy(update={"name": name}) for name in names] or [entry]
        return found

    @property
    def shuffles(self) -> bool:
        """Whether the rows of all datasets are shuffled together."""
        return self.shuffle_merged_datasets and not self.curriculum_sampling

    def for_tests(self) -> "DataSection":
        """Return the settings with which `test_datasets` are prepared."""
        return self.model_copy(update={"sequence_len": self.eval_sequence_len or self.sequence_len})
