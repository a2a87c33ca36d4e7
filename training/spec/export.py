"""`[export]`: how the network is written as ONNX, and how closely it must agree with Keras."""

from typing import Annotated

from msgspec import Meta, Struct

from training.spec.scalars import Positive


class ExportSpec(Struct, frozen=True, forbid_unknown_fields=True):
    """The ONNX operator set, and the largest difference between ONNX and Keras that may be published.

    The difference is |ONNX - Keras| / max(1, |Keras|). tf2onnx writes no opset above 18. `memory_limit_mb` bounds the process that
    converts a large network.
    """

    opset: Annotated[int, Meta(ge=15, le=18)] = 18
    parity_tolerance: Positive = 1e-5
    memory_limit_mb: Annotated[int, Meta(ge=512, le=1_000_000)] = 8192
