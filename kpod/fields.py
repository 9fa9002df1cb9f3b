"""Base classes and field types of all settings."""

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from kpod.text.hygiene import well_formed_tree

Split = Literal["train", "validation", "test"]
Precision = Literal["auto", "fp32", "bf16"]
Attention = Literal["sdpa", "flash_attention_2", "flash_attention_3", "flex_attention", "eager"]
NAME = r"^[A-Za-z0-9][A-Za-z0-9._-]*$"  # of runs and sets: part of file names, tags and registered models
Fraction = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=0, lt=2**32, description="Seed of the random numbers of this stage.")]


def _without_password(address: str) -> str:
    if "@" in address.partition("://")[2].partition("/")[0]:
        raise ValueError("an address must not hold a password, it is recorded: name a variable in api_key_env")
    return address


def _variable(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("must be the name of an environment variable that holds the key, not the key itself")
    return name


# Both are recorded in Prefect and MLflow, so a secret must not get into them.
Address = Annotated[str, AfterValidator(_without_password)]
VariableName = Annotated[str, AfterValidator(_variable)]


def operational(default: Any, description: str, **constraints: Any) -> Any:
    """A field that changes speed or patience but never a stage's output, and so is no part of its cache key."""
    return Field(default, description=description, json_schema_extra={"operational": True}, **constraints)


def code(description: str, **constraints: Any) -> Any:
    """A field that names a function of the user's, `package.module:function`; its source is part of the cache key."""
    return Field(description=description, json_schema_extra={"code": True}, **constraints)


class Strict(BaseModel):
    """Base of all settings: immutable, and an unknown key is an error."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        validate_default=True,
        hide_input_in_errors=True,  # the input may be a secret written under a wrong key
    )

    @model_validator(mode="before")
    @classmethod
    def _valid_unicode(cls, value: Any) -> Any:
        return well_formed_tree(value) if isinstance(value, dict) else value
