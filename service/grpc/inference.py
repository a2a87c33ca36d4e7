"""ModelInferRequest into tensors, an answer into the pieces of a ModelInferResponse.

Raw tensors never pass through protobuf: they are views of the message that came in, and are put behind the message that goes out.
An answer is raw, as Triton's is; if the request came in typed contents its answer has them too, which is what clients written
for KServe and MLServer read.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np

from service.errors import MalformedBody, shown
from service.grpc import contents, messages, wire
from service.grpc.messages import Message
from service.inference.served_model import Answer
from service.protocols import binary_tensors
from service.protocols.classification import classes
from service.protocols.infer_request import InferRequest, RequestedOutput, datatype_of, refuse_many
from service.protocols.parameters import OutputOptions, Parameters, output_options, refuse_shared_memory, request_options
from service.repository.datatypes import MAX_RANK

Array = np.ndarray[Any, Any]

_RAW_INPUTS: Final = 7
_TENSORS: Final = (5, 6)  # inputs and outputs
_SHAPE: Final = 3 << 3 | 2
_CONTENTS: Final = 5 << 3 | 2
_FLOATS: Final = (6 << 3 | 2, 7 << 3 | 2)  # the contents that protobuf copies as they are
_MOST_CONTENTS: Final = 8 << 20  # bytes of others, each value of which protobuf reads by itself: about a second
_RAW_OUTPUTS: Final = 6
_LONGEST_NUMBER: Final = 10  # bytes
# tritonclient asks in this way to be told which answer of a stream is the last for its request: here, every one.
_ASKS_FOR_FINAL: Final = "triton_enable_empty_final_response"
_FINAL: Final = "triton_final_response"


@dataclass(frozen=True, slots=True)
class Envelope:
    """A request whose tensors are still bytes. `bulk` is how much of it takes work to read, in bytes."""

    message: Message
    raw: Sequence[memoryview | bytes]

    @property
    def model(self) -> str:
        """Name of the model."""
        return str(self.message.model_name)

    @property
    def version(self) -> str | None:
        """The version asked for, if one is."""
        return self.message.model_version or None

    @property
    def id(self) -> str:
        """What the client calls the request; empty if nothing."""
        return str(self.message.id)


def unpack(body: bytes) -> Envelope:
    """Read all of a request but its tensors. Raises MalformedBody."""
    rest, raw = wire.split(body, _RAW_INPUTS, look=_refuse_slow)
    message = messages.parse(messages.InferRequest, rest)
    return Envelope(message, [*raw, *message.raw_input_contents])


def decode(envelope: Envelope) -> InferRequest:
    """Read the tensors of a request and what it asks for. Raises MalformedBody with what is wrong and where."""
    message = envelope.message
    if not message.inputs:
        raise MalformedBody("The request has no inputs. Send at least one InferInputTensor.")
    refuse_many(message.inputs, "inputs")
    refuse_many(message.outputs, "outputs")
    parameters = _parameters(message.parameters, "the request")
    asked = {key: value for key, value in parameters.items() if key != _ASKS_FOR_FINAL}
    return InferRequest(
        inputs=_inputs(message.inputs, envelope.raw),
        outputs=tuple(_output(output) for output in message.outputs),
        id=message.id or None,
        parameters=parameters,
        options=request_options(asked),
    )


def encode(answer: Answer, *, model: str, version: int, envelope: Envelope, request: InferRequest) -> list[wire.Buffer]:
    """Return the pieces of the response. Raises InvalidRequest if classes were asked of an output that has none."""
    response = messages.InferResponse(model_name=model, model_version=str(version), id=envelope.id)
    if request.parameters.get(_ASKS_FOR_FINAL) is True:
        response.parameters[_FINAL].bool_param = True
    wanted = [output.options for output in request.outputs] or [OutputOptions()] * len(answer.outputs)
    raw = []
    for (spec, array), options in zip(answer.outputs, wanted, strict=True):
        values, datatype = array, spec.datatype
        if options.classes:
            values, datatype = classes(array, spec, options.classes), "BYTES"
        output = response.outputs.add(name=spec.name, datatype=datatype, shape=values.shape)
        if not envelope.raw:
            contents.fill(output.contents, values, datatype)
        raw.append(binary_tensors.to_bytes(values))
    return wire.joined(response.SerializeToString(), _RAW_OUTPUTS, raw)


def _refuse_slow(walk: wire.Walk, number: int, begin: int, end: int) -> None:
    """Raise MalformedBody for a tensor that protobuf would take seconds to parse, in which nothing else of the process goes on."""
    if number not in _TENSORS:
        return
    for tag, _, start, stop in walk.fields(begin, end):
        if tag == _SHAPE and stop - start > MAX_RANK * _LONGEST_NUMBER:
            raise MalformedBody(f"A tensor has no valid shape; expected up to {MAX_RANK} sizes of 0 or more.")
        if tag == _CONTENTS and stop - start > _MOST_CONTENTS:
            first, _, _, last = next(walk.fields(start, stop), (0, 0, 0, 0))
            if first not in _FLOATS or last != stop:
                raise MalformedBody(
                    f"A tensor has {stop - start} bytes of typed contents; {_MOST_CONTENTS} are the most, but for floats. "
                    "Send it in raw_input_contents."
                )


def _inputs(tensors: Sequence[Message], raw: Sequence[memoryview | bytes]) -> dict[str, Array]:
    if raw and len(raw) != len(tensors):
        raise MalformedBody(
            f"The request has {len(raw)} raw_input_contents for {len(tensors)} inputs; expected one for each, or none."
        )
    inputs: dict[str, Array] = {}
    for index, tensor in enumerate(tensors):
        if not tensor.name:
            raise MalformedBody(f"inputs[{index}] has no name.")
        if tensor.name in inputs:
            raise MalformedBody(f"Input '{shown(tensor.name)}' is given twice.")
        inputs[tensor.name] = _input(tensor, raw[index] if raw else None)
    return inputs


def _input(tensor: Message, raw: memoryview | bytes | None) -> Array:
    where = f"Input '{shown(tensor.name)}'"
    if tensor.parameters:
        refuse_shared_memory(_parameters(tensor.parameters, where), where)
    datatype = datatype_of(tensor.datatype, where)
    shape = tuple(tensor.shape[: MAX_RANK + 1])
    if len(shape) > MAX_RANK or any(size < 0 for size in shape):
        raise MalformedBody(f"{where} has no valid shape; expected up to {MAX_RANK} sizes of 0 or more, the batch axis first.")
    if raw is None:
        return contents.to_array(tensor.contents, datatype=datatype, shape=shape, where=where)
    if tensor.HasField("contents"):
        raise MalformedBody(f"{where} has contents, but the request has raw_input_contents. Send all of its inputs in one form.")
    return binary_tensors.to_array(memoryview(raw), datatype=datatype, shape=shape, where=where)


def _output(output: Message) -> RequestedOutput:
    where = f"Output '{shown(output.name)}'"
    return RequestedOutput(output.name, output_options(_parameters(output.parameters, where), where))


def _parameters(parameters: Any, where: str) -> Parameters:  # noqa: ANN401 -- a map field
    values: dict[str, str | int | float | bool] = {}
    for key, parameter in parameters.items():
        choice = parameter.WhichOneof("parameter_choice")
        if choice is None:
            raise MalformedBody(f"The parameter '{shown(key)}' of {where} has no value.")
        values[key] = getattr(parameter, choice)
    return values
