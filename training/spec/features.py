"""`[features.<column>]`: what becomes of each raw column before the network sees it.

A column that is not named gets a default by its type: numbers are scaled, strings one-hot encoded, images and token ids taken
as they are. Whatever has to be learned (means, vocabularies, boundaries) is learned from the training rows.
"""

import itertools
import math
from typing import Annotated, Final, Literal

from msgspec import Meta, Struct

from training.spec.scalars import Count, Portion

Encoding = Literal["one_hot", "embedding"]
Scale = Literal["standard", "minmax", "none"]
DatePart = Literal["year", "month", "day", "weekday", "hour", "minute", "day_of_year", "elapsed"]
Side = Annotated[int, Meta(ge=1, le=16384)]

# Words of letters and digits of any script; lower-casing is of A-Z alone, so that no locale of a machine can change it.
WORDS: Final = r"[\p{L}\p{N}]+"


class NumericSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="numeric"):
    """A number: imputed, clipped, log(1 + x), scaled, in this order.

    NaN and infinities are missing; `impute` is a statistic of the training rows or a number. `indicator` adds a 0/1 feature if
    training rows miss the value. `clip` is in the column's unit, `clip_quantiles` in shares of the training rows. `log1p` takes
    values below 0 as 0. `standard` gives mean 0 and standard deviation 1, `minmax` 0..1; a constant column becomes 0.
    """

    scale: Scale = "standard"
    impute: Literal["mean", "median"] | float = "median"
    indicator: bool = True
    clip: tuple[float, float] | None = None
    clip_quantiles: tuple[Portion, Portion] | None = None
    log1p: bool = False

    def __post_init__(self) -> None:
        """Demand ordered, finite bounds, from one source."""
        if self.clip is not None and self.clip_quantiles is not None:
            raise ValueError("clip and clip_quantiles are both given; expected one of them")
        for name, bounds in (("clip", self.clip), ("clip_quantiles", self.clip_quantiles)):
            if bounds is not None and not (math.isfinite(bounds[0]) and math.isfinite(bounds[1]) and bounds[0] < bounds[1]):
                raise ValueError(f"{name} = {list(bounds)}; expected two finite numbers, the smaller first")
        if isinstance(self.impute, float) and not math.isfinite(self.impute):
            raise ValueError(f"impute = {self.impute}; expected a finite number, 'mean' or 'median'")


class BucketizedSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="bucketized"):
    """A number as the bucket it falls into; a boundary belongs to the bucket above it.

    `boundaries` are in the column's unit; `quantiles` asks for as many buckets of about equally many training rows.
    """

    boundaries: tuple[float, ...] = ()
    quantiles: Annotated[int, Meta(ge=2, le=1000)] | None = None
    encoding: Encoding = "one_hot"
    dimension: Count | None = None

    def __post_init__(self) -> None:
        """Demand boundaries that rise, from one source."""
        if bool(self.boundaries) == (self.quantiles is not None):
            raise ValueError("expected either boundaries or quantiles")
        if not all(math.isfinite(boundary) for boundary in self.boundaries):
            raise ValueError(f"boundaries = {list(self.boundaries)}; expected finite numbers")
        if any(low >= high for low, high in itertools.pairwise(self.boundaries)):
            raise ValueError(f"boundaries = {list(self.boundaries)}; expected each greater than the one before")
        _refuse_dimension(self.encoding, self.dimension)


class CategoricalSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="categorical"):
    """A string or a number as one of the values that training saw, the most frequent first.

    Kept are at most `max_size` values with at least `min_count` training rows each; all others share `oov_buckets` by their hash.
    `lowercase` folds A-Z before anything else.
    """

    max_size: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000
    min_count: Count = 1
    oov_buckets: Annotated[int, Meta(ge=1, le=100_000)] = 1
    lowercase: bool = False
    encoding: Encoding = "one_hot"
    dimension: Count | None = None

    def __post_init__(self) -> None:
        """Refuse a dimension that would have no effect."""
        _refuse_dimension(self.encoding, self.dimension)


class HashedSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="hashed"):
    """A string or an integer as the bucket that its hash falls into; `salt` chooses another hash. Nothing is learned."""

    buckets: Annotated[int, Meta(ge=2, le=1_000_000)]
    salt: Annotated[int, Meta(ge=0, lt=2**31 - 1)] = 0
    encoding: Encoding = "embedding"
    dimension: Count | None = None

    def __post_init__(self) -> None:
        """Refuse a dimension that would have no effect."""
        _refuse_dimension(self.encoding, self.dimension)


class DateSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="date"):
    """A moment in UTC: a string `2013-01-31`, `2013-01-31T09:08` or with seconds, or an integer count of `unit` since 1970.

    `cyclic` turns month, day, weekday (Monday first), hour, minute and day_of_year into a sine and a cosine, so that December is
    next to January; otherwise they lie in 0..1. `year` and `elapsed` (days since 1970) are scaled by mean and standard deviation.
    """

    parts: Annotated[tuple[DatePart, ...], Meta(min_length=1)] = ("year", "month", "weekday", "hour")
    cyclic: bool = True
    unit: Literal["seconds", "milliseconds"] = "seconds"

    def __post_init__(self) -> None:
        """Refuse a part that is named twice."""
        if len(set(self.parts)) < len(self.parts):
            raise ValueError(f"parts = {list(self.parts)}; expected each part once")


class TextSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="text"):
    """A text as its tokens: whatever `pattern` (RE2 syntax) finds, A-Z folded to a-z if `lowercase`.

    `ids` gives the first `length` tokens as numbers for an embedding (0 fills, 1 is an unknown token); `counts`, `binary` and
    `tfidf` give one feature a token, and a pair of neighbours too with `ngrams = 2`. Kept are the `max_size` most frequent.
    """

    encoding: Literal["ids", "counts", "binary", "tfidf"] = "tfidf"
    pattern: Annotated[str, Meta(min_length=1)] = WORDS
    lowercase: bool = True
    max_size: Annotated[int, Meta(ge=1, le=1_000_000)] = 1000
    min_count: Count = 2
    ngrams: Annotated[int, Meta(ge=1, le=2)] = 1
    length: Side | None = None
    dimension: Count | None = None

    def __post_init__(self) -> None:
        """Match length, dimension and ngrams with the encoding."""
        if (self.encoding == "ids") != (self.length is not None):
            raise ValueError("length is the number of token ids; expected it with encoding 'ids' and with no other")
        if self.encoding == "ids" and self.ngrams > 1:
            raise ValueError("ngrams = 2 belongs to the encodings 'counts', 'binary' and 'tfidf', not to 'ids'")
        if self.encoding != "ids" and self.dimension is not None:
            raise ValueError(f"dimension = {self.dimension} belongs to encoding 'ids', not to '{self.encoding}'")


class ImageSpec(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="kind", tag="image"):
    """Pictures [height, width] or [height, width, channels]: the centre cut out, resized, scaled, in this order.

    `crop` and `resize` are [height, width] in pixels; `resize` is bilinear between pixel centres without antialiasing. `unit`
    divides by 255, `standard` gives each channel mean 0 and standard deviation 1 over the training rows.
    """

    crop: tuple[Side, Side] | None = None
    resize: tuple[Side, Side] | None = None
    scale: Literal["unit", "standard", "none"] = "unit"


class RawSpec(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="raw"):
    """Numbers that the network takes as they are: token ids, sequences, embeddings made elsewhere."""


class IgnoredSpec(Struct, frozen=True, forbid_unknown_fields=True, tag_field="kind", tag="ignored"):
    """A column that the model does not take."""


FeatureSpec = NumericSpec | BucketizedSpec | CategoricalSpec | HashedSpec | DateSpec | TextSpec | ImageSpec | RawSpec | IgnoredSpec


def _refuse_dimension(encoding: Encoding, dimension: int | None) -> None:
    if encoding != "embedding" and dimension is not None:
        raise ValueError(f"dimension = {dimension} belongs to encoding 'embedding', not to '{encoding}'")
