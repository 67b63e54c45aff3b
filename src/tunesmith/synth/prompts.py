"""The prompts of `generate`: the template, the seed rows that it shows, and the schema of a row."""

import json
import random
from collections.abc import Sequence
from functools import cached_property
from hashlib import sha256
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tunesmith.data.source import read_rows
from tunesmith.data.types import BadRow, Row
from tunesmith.errors import ConfigError, DataError
from tunesmith.references import resolve_file
from tunesmith.sections import Dataset, Generate

if TYPE_CHECKING:
    from jinja2 import Template

DEFAULT = """\
{% if seeds %}These are rows of a dataset:

{% for seed in seeds %}{{ seed | tojson }}
{% endfor %}
{% endif %}Write one new row of the same kind that says something else. It is one JSON object that fits this schema:
{{ schema | tojson }}
"""


class Prompts:
    """The prompts of a `generate:` block, numbered from 1. The same number always gives the same prompt.

    Attributes:
        seeds: the seed rows, without columns whose name begins with `_`.
        schema: JSON schema of a row.
    """

    def __init__(self, section: Generate, source: str) -> None:
        self._section = section
        self.seeds = _read_seeds(section.seeds, source)
        self.schema = _read_schema(section.row_schema, [row.values for row in self.seeds], source)
        self._template_text = _read_template(section.prompt, source)

    def shown_seeds(self, number: int) -> list[Row]:
        """Return the seeds that a prompt shows."""
        count = min(self._section.seeds_per_prompt, len(self.seeds))
        return random.Random(f"{self._section.seed}:{number}").sample(self.seeds, count)

    def render(self, number: int) -> str:
        """Return a prompt.

        Raises:
            ConfigError: the template is at fault.
        """
        template, seeds = self._template, [row.values for row in self.shown_seeds(number)]
        try:
            return str(template.render(seeds=seeds, number=number, schema=self.schema))
        except Exception as error:  # the user's template may raise anything
            raise ConfigError(f"`generate.prompt`: {error}; known are seeds, number and schema") from None

    @cached_property
    def content_hash(self) -> str:
        """A hash of the template and the schema, for the provenance of rows."""
        return sha256(json.dumps([self._template_text, self.schema], sort_keys=True).encode()).hexdigest()[:12]

    @cached_property
    def _template(self) -> "Template":
        from jinja2 import StrictUndefined, TemplateSyntaxError
        from jinja2.sandbox import ImmutableSandboxedEnvironment

        environment = ImmutableSandboxedEnvironment(undefined=StrictUndefined)
        environment.filters["tojson"] = lambda value: json.dumps(value, ensure_ascii=False, default=str)
        try:
            return environment.from_string(self._template_text)
        except TemplateSyntaxError as error:
            raise ConfigError(f"`generate.prompt`, line {error.lineno}: {error.message}") from None


def _read_seeds(path: str, source: str) -> list[Row]:
    seeds = []
    for item in read_rows(Dataset(path=path), source):
        if isinstance(item, BadRow):
            raise DataError(f"{item.file}:{item.number}: {item.reason}; a seed row must be valid")
        values = {name: value for name, value in item.values.items() if not name.startswith("_")}
        seeds.append(item._replace(values=values))
    if not seeds:
        raise DataError(f"`generate.seeds: {path}` has no rows")
    return seeds


def _read_template(prompt: str | None, source: str) -> str:
    """Return the text of the template; a value of one word is a file name."""
    if prompt is None:
        return DEFAULT
    file = Path(resolve_file(prompt, source)) if len(prompt.split()) == 1 else None
    if file is None:
        return prompt
    if not file.is_file():
        raise ConfigError(f"`generate.prompt: {prompt}`: no such file (looked here and beside {source})")
    return file.read_text(encoding="utf-8")


def _read_schema(schema: dict[str, Any] | str | None, seeds: Sequence[Any], source: str) -> dict[str, Any]:
    """Return the schema of a row, validated."""
    from jsonschema import Draft202012Validator, SchemaError

    if schema is None:
        return common_schema(seeds)
    name = "`generate.row_schema`" if isinstance(schema, dict) else f"`generate.row_schema: {schema}`"
    if isinstance(schema, str):
        try:
            schema = json.loads(Path(resolve_file(schema, source)).read_text(encoding="utf-8"))
        except (OSError, ValueError) as error:
            raise ConfigError(f"{name}: {error}") from None
    try:
        Draft202012Validator.check_schema(schema)
    except SchemaError as error:
        raise ConfigError(f"{name} is no JSON schema: {error.message} at {error.json_path}") from None
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise ConfigError(f"{name}: a row is an object with columns; set `type: object` and `properties`")
    return schema


def common_schema(values: Sequence[Any]) -> dict[str, Any]:
    """Return a JSON schema that all values satisfy: columns that all have are required, unknown columns are refused."""
    types = sorted({_json_type(value) for value in values})
    if types == ["object"]:
        return _common_object_schema(values)
    if types == ["array"]:
        return {"type": "array", "items": common_schema([item for value in values for item in value])}
    if not types:
        return {}
    return {"type": types[0] if len(types) == 1 else types}


def _common_object_schema(values: Sequence[dict[str, Any]]) -> dict[str, Any]:
    names = list(dict.fromkeys(name for value in values for name in value))
    return {
        "type": "object",
        "properties": {name: common_schema([value[name] for value in values if name in value]) for name in names},
        "required": [name for name in names if all(name in value for value in values)],
        "additionalProperties": False,
    }


def _json_type(value: object) -> str:
    names = {dict: "object", list: "array", bool: "boolean", int: "number", float: "number", type(None): "null"}
    return names.get(type(value), "string")
