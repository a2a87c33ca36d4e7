"""inference.proto, what is compiled from it, and what clients were compiled with, say the same."""

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from google.protobuf.descriptor_pb2 import FieldDescriptorProto, FileDescriptorProto, FileDescriptorSet
from tritonclient.grpc import model_config_pb2, service_pb2

from service.grpc import messages

PACKAGE = Path(messages.__file__).parent
# Axon has no other scheduler, no ragged input formats and the like, so it has no messages for them.
Tree = dict[str, Any]


def described(file: FileDescriptorProto) -> Tree:
    """Name everything that stands in a file and goes over the wire."""
    found: Tree = {}

    def message(descriptor: Any, prefix: str) -> None:
        name = f"{prefix}.{descriptor.name}"
        found[name] = "message"
        for field in descriptor.field:
            oneof = descriptor.oneof_decl[field.oneof_index].name if field.HasField("oneof_index") else None
            kind = FieldDescriptorProto.Type.Name(field.type)
            found[f"{name}.{field.name}"] = (field.number, kind, field.type_name, field.label, oneof)
        for nested in descriptor.nested_type:
            message(nested, name)
        for nested in descriptor.enum_type:
            enumeration(nested, name)

    def enumeration(descriptor: Any, prefix: str) -> None:
        found[f"{prefix}.{descriptor.name}"] = {value.name: value.number for value in descriptor.value}

    for descriptor in file.message_type:
        message(descriptor, file.package)
    for descriptor in file.enum_type:
        enumeration(descriptor, file.package)
    for service in file.service:
        for method in service.method:
            streams = method.client_streaming, method.server_streaming
            found[f"{file.package}.{service.name}.{method.name}"] = (method.input_type, method.output_type, *streams)
    return found


def file_of(descriptor: Any) -> FileDescriptorProto:
    file = FileDescriptorProto()
    descriptor.CopyToProto(file)
    return file


@pytest.fixture(scope="module")
def ours() -> Tree:
    (file,) = FileDescriptorSet.FromString((PACKAGE / messages.DESCRIPTORS).read_bytes()).file
    return described(file)


@pytest.fixture(scope="module")
def theirs() -> Tree:
    return described(file_of(service_pb2.DESCRIPTOR)) | described(file_of(model_config_pb2.DESCRIPTOR))


def test_compiled_descriptors_are_those_of_the_proto_file(tmp_path: Path) -> None:
    compiled = tmp_path / "compiled"
    command = [sys.executable, "-m", "grpc_tools.protoc", f"-I{PACKAGE}", f"--descriptor_set_out={compiled}", "inference.proto"]

    subprocess.run(command, check=True, capture_output=True)

    assert (PACKAGE / messages.DESCRIPTORS).read_bytes() == compiled.read_bytes(), "run `make proto`"


def test_every_name_number_and_type_is_that_of_tritons_clients(ours: Tree, theirs: Tree) -> None:
    assert {name: what for name, what in ours.items() if theirs.get(name) != what} == {}


def test_all_that_concerns_inference_is_there(ours: Tree, theirs: Tree) -> None:
    """Left out are shared memory, tracing and log settings, which Axon has not, and kinds of scheduling that it does not do."""
    left_out = ("SharedMemory", "TraceSetting", "LogSetting")
    configuration = described(file_of(model_config_pb2.DESCRIPTOR))

    missing = {name for name in theirs.keys() - ours.keys() - configuration.keys() if not any(word in name for word in left_out)}

    assert missing == set()


def test_messages_live_beside_those_of_another_package_in_one_process() -> None:
    theirs = service_pb2.ModelInferRequest(model_name="m", raw_input_contents=[b"ab"])

    ours = messages.InferRequest.FromString(theirs.SerializeToString())

    assert ours.model_name == "m"
    assert type(ours) is not type(theirs)
