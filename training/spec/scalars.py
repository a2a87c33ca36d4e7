"""Numbers and names with their ranges, shared by the sections of a spec."""

from typing import Annotated

from msgspec import Meta

Count = Annotated[int, Meta(ge=1, le=2**31 - 1)]  # what TensorFlow counts with
Share = Annotated[float, Meta(gt=0, lt=1)]
Portion = Annotated[float, Meta(ge=0, le=1)]
Decay = Annotated[float, Meta(ge=0, lt=1)]
Positive = Annotated[float, Meta(gt=0, le=1e6)]
Name = Annotated[str, Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,127}$")]
