"""What all tables of a model.toml have in common."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

Rows = Annotated[int, Field(ge=1, le=1 << 30)]


class Table(BaseModel):
    """Takes no unknown key and converts nothing."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)
