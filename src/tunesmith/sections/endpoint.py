"""Where a model is asked: at an OpenAI-compatible server, or on this machine."""

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from tunesmith.sections.fields import EnvironmentName, ModelPath, OutputPath
from tunesmith.sections.section import Count, NonNegative, Section

Above0 = Annotated[float, Field(gt=0)]

_OF_A_SERVER = ("api_key_env", "requests_per_minute", "timeout")


class EndpointSection(Section):
    """The block `endpoint:` of what asks another model: which one, where, and within which limits."""

    model: Annotated[str, ModelPath()]
    """Name of the model at the server; without `base_url` one that runs here: as in `base_model`, or a run's folder."""
    base_url: str | None = None
    """Address of an OpenAI-compatible server, such as `http://localhost:8000/v1`; without it the model runs here."""
    api_key_env: Annotated[str | None, EnvironmentName()] = None
    """Name of the environment variable that holds the key; without it no key is sent."""
    temperature: NonNegative = 0.0
    """Spread of the random choice; 0 takes the likeliest."""
    max_tokens: Count = 512
    """Longest reply, in tokens."""
    concurrency: Count = 8
    """Requests in flight at once; of a model that runs here, replies made at once."""
    requests_per_minute: Above0 | None = None
    """Send at most this many requests a minute."""
    timeout: Above0 = 120.0
    """Seconds until a whole reply must be there."""
    retries: Annotated[int, Field(ge=0)] = 5
    """Try again this often when the server fails, and ask again this often for a reply that has the wrong form."""
    input_cost: NonNegative | None = None
    """Price of a million tokens sent."""
    output_cost: NonNegative | None = None
    """Price of a million tokens received."""
    max_requests: Count | None = None
    """Stop after this many requests of one run; the next run goes on from there."""
    max_cost: Above0 | None = None
    """Stop when one run has cost this much; the next run goes on from there."""
    cache: Annotated[str | None, OutputPath()] = None
    """Folder that keeps every reply, so that none is paid for twice; by default in the user's cache."""

    @field_validator("base_url")
    @classmethod
    def _an_address(cls, value: str | None) -> str | None:
        if value is None:
            return None
        if "@" in value or "?" in value:
            raise ValueError("must not hold a key; name the environment variable that holds it in `api_key_env`")
        if not value.startswith(("http://", "https://")):
            raise ValueError(f"expects an address such as http://localhost:8000/v1, found {value!r}")
        return value.rstrip("/").removesuffix("/chat/completions")

    @model_validator(mode="after")
    def _fits_together(self) -> "EndpointSection":
        lonely = [key for key in _OF_A_SERVER if key in self.model_fields_set]
        if self.base_url is None and lonely:
            raise ValueError(f"has no `base_url`, so that the model runs here: remove `{lonely[0]}`, or set `base_url`")
        if self.max_cost is not None and self.input_cost is None and self.output_cost is None:
            raise ValueError(f"`max_cost: {self.max_cost:g}` needs `input_cost` and `output_cost`, per million tokens")
        return self


class ServerSection(EndpointSection):
    """The block `endpoint:` of what asks a server only."""

    base_url: str
    """Address of an OpenAI-compatible server, such as `http://localhost:8000/v1`."""
