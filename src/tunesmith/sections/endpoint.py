"""The model that generates: at an OpenAI-compatible server, or on this machine."""

from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from tunesmith.sections.fields import EnvironmentName, ModelPath, OutputPath
from tunesmith.sections.section import Count, NonNegative, Section

Above0 = Annotated[float, Field(gt=0)]

_OF_A_SERVER = ("api_key_env", "requests_per_minute", "timeout", "omit_fields")


class EndpointSection(Section):
    """The block `endpoint:`: which other model is used, where, and within which limits."""

    model: Annotated[str, ModelPath()]
    """Name of the model at the server; without `base_url` a local one: as in `base_model`, or the folder of a run."""
    base_url: str | None = None
    """URL of an OpenAI-compatible server, such as `http://localhost:8000/v1`; without it the model runs locally."""
    api_key_env: Annotated[str | None, EnvironmentName()] = None
    """Environment variable with the API key; without it no key is sent."""
    temperature: NonNegative = 0.0
    """Sampling temperature; 0 is greedy decoding."""
    max_tokens: Count = 512
    """Maximum length of a reply, in tokens."""
    concurrency: Count = 8
    """Number of concurrent requests; for a local model, the batch size."""
    requests_per_minute: Above0 | None = None
    """Rate limit, in requests per minute."""
    timeout: Above0 = 120.0
    """Time limit of a request, in seconds."""
    retries: Annotated[int, Field(ge=0)] = 5
    """Number of retries after a server error, and after a reply in the wrong format."""
    omit_fields: list[Literal["max_tokens", "temperature", "seed", "response_format"]] = []
    """Fields of a request that are never sent. A field that the server refuses is left out without this key."""
    input_cost: NonNegative | None = None
    """Price per million prompt tokens."""
    output_cost: NonNegative | None = None
    """Price per million completion tokens."""
    max_requests: Count | None = None
    """Stop after this many requests in one run; the next run continues."""
    max_cost: Above0 | None = None
    """Stop when a run has cost this much; the next run continues."""
    cache: Annotated[str | None, OutputPath()] = None
    """Folder of the reply cache, so that no reply is paid for twice. Default: in the user's cache."""

    @field_validator("base_url")
    @classmethod
    def _an_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if "@" in value or "?" in value:
            raise ValueError("must not hold a key; name the environment variable that holds it in `api_key_env`")
        if not value.startswith(("http://", "https://")):
            raise ValueError(f"expects a URL such as http://localhost:8000/v1, found `{value}`")
        return value.rstrip("/").removesuffix("/chat/completions")

    @model_validator(mode="after")
    def _fits_together(self) -> "EndpointSection":
        server_keys = [key for key in _OF_A_SERVER if key in self.model_fields_set]
        if self.base_url is None and server_keys:
            raise ValueError(
                f"has no `base_url`, so the model runs locally: remove `{server_keys[0]}`, or set `base_url`"
            )
        if self.max_cost is not None and self.input_cost is None and self.output_cost is None:
            raise ValueError(f"`max_cost: {self.max_cost:g}` needs `input_cost` and `output_cost`, per million tokens")
        return self


class ServerSection(EndpointSection):
    """The block `endpoint:` where only a server is possible."""

    base_url: str
    """URL of an OpenAI-compatible server, such as `http://localhost:8000/v1`."""
