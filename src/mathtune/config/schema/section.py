"""What the sections of a recipe share."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

Positive = Annotated[int, Field(gt=0)]
Fraction01 = Annotated[float, Field(ge=0.0, lt=1.0)]
Seed = Annotated[int, Field(ge=0, lt=2**32)]  # the range that every random generator here accepts
SAME_RESULT = "same result"
"""Marks a knob that changes how the work is done, and of its result only rounding and which units
dropout drops. So a run can be continued in its folder with another value."""
Unrecorded: Any = Field(exclude=True)
"""Marks how a server is reached: like ``SAME_RESULT``, and not recorded either."""


class Section(BaseModel):
    """A section of a recipe: unknown keys are errors, values never change after loading."""

    model_config = ConfigDict(
        extra="forbid",
        frozen=True,
        allow_inf_nan=False,
        use_attribute_docstrings=True,
        protected_namespaces=(),
    )
