"""The data: entries of `datasets`, and how rows become tokens."""

from typing import Annotated, Any, Literal

from pydantic import Field, field_validator
from pydantic_core.core_schema import ValidationInfo

from tunesmith.config.sections.section import Count, NonNegative, Section

ROLES = {"human": "user", "gpt": "assistant", "model": "assistant", "bot": "assistant"}
"""Names of roles in common datasets -> the names that templates know."""


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
