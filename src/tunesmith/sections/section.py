"""What all sections share: frozen fields, unknown keys refused, and the usual ranges of numbers."""

from typing import Annotated, Any, get_args

from pydantic import BaseModel, ConfigDict, Field, field_validator
from pydantic.fields import FieldInfo
from pydantic_core.core_schema import ValidationInfo

Number = Annotated[int, Field(ge=0)]
Count = Annotated[int, Field(ge=1)]
Fraction = Annotated[float, Field(ge=0, le=1)]
NonNegative = Annotated[float, Field(ge=0)]


class Section(BaseModel):
    """A frozen group of keys that belong together."""

    model_config = ConfigDict(
        frozen=True, extra="forbid", allow_inf_nan=False, use_attribute_docstrings=True, protected_namespaces=()
    )

    @field_validator("*", mode="before")
    @classmethod
    def _no_odd_number(cls, value: Any, info: ValidationInfo) -> Any:
        """Refuse `lora_r: true`, which pydantic would read as 1, and numbers that no library can hold."""
        if isinstance(value, int) and abs(value) >= 2**63:
            raise ValueError("is too large a number")
        if isinstance(value, bool) and info.field_name and not _takes_bool(cls.model_fields[info.field_name]):
            raise ValueError("does not take true or false")
        return value


def _takes_bool(field: FieldInfo) -> bool:
    annotation = field.annotation
    return bool in (annotation, *get_args(annotation)) or Any in (annotation, *get_args(annotation))
