"""The messages of inference.proto as classes.

They live in a descriptor pool of their own: tritonclient and kserve register the same names in protobuf's default pool, and
a process that imports one of them beside Axon would fail. That is also why there is no generated `_pb2.py`.
"""

from importlib.resources import files
from typing import Any, Final

from google.protobuf.descriptor_pb2 import FileDescriptorSet
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message import DecodeError
from google.protobuf.message_factory import GetMessageClass

from service.errors import MalformedBody

SERVICE: Final = "inference.GRPCInferenceService"
DESCRIPTORS: Final = "inference.binpb"

Message = Any  # protobuf's classes are made at run time


def _pool() -> DescriptorPool:
    pool = DescriptorPool()
    for file in FileDescriptorSet.FromString(files(__package__).joinpath(DESCRIPTORS).read_bytes()).file:
        pool.Add(file)
    return pool


POOL: Final = _pool()


def message_class(name: str) -> Message:
    """Return the class of a message of inference.proto."""
    return GetMessageClass(POOL.FindMessageTypeByName(f"inference.{name}"))


def parse(kind: Message, body: bytes) -> Message:
    """Read a message. Raises MalformedBody if the bytes are none."""
    try:
        return kind.FromString(body)
    except DecodeError:
        raise MalformedBody(f"The message is no {kind.DESCRIPTOR.full_name}: its bytes cannot be read as one.") from None


InferRequest: Final = message_class("ModelInferRequest")
InferResponse: Final = message_class("ModelInferResponse")
StreamInferResponse: Final = message_class("ModelStreamInferResponse")
TensorContents: Final = message_class("InferTensorContents")
