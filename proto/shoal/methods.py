"""The RPCs of every protocol under `shoal`, read from the descriptors of the services."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType
from typing import Final

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass

from shoal.admin import admin_pb2
from shoal.health import health_pb2
from shoal.inference import grpc_service_pb2
from shoal.reflection import reflection_pb2


@dataclass(frozen=True, slots=True)
class Method:
    """One RPC: its path on the wire, the messages that it takes and gives, and which sides stream."""

    path: str
    request: type[Message]
    response: type[Message]
    client_streaming: bool
    server_streaming: bool


def methods_of(file: FileDescriptor) -> Iterator[Method]:
    """Yield the methods of every service that a file declares, in the order of the file."""
    for service in file.services_by_name.values():
        for method in service.methods:
            yield Method(
                path=f"/{service.full_name}/{method.name}",
                request=GetMessageClass(method.input_type),
                response=GetMessageClass(method.output_type),
                client_streaming=method.client_streaming,
                server_streaming=method.server_streaming,
            )


def _reflection() -> Iterator[Method]:
    for method in methods_of(reflection_pb2.DESCRIPTOR):
        yield method
        # Most tools in use still ask under the older name; the bytes are the same.
        yield replace(method, path=method.path.replace(".v1.", ".v1alpha."))


METHODS: Final[Mapping[str, Method]] = MappingProxyType(
    {
        method.path: method
        for methods in (
            methods_of(grpc_service_pb2.DESCRIPTOR),
            methods_of(health_pb2.DESCRIPTOR),
            methods_of(admin_pb2.DESCRIPTOR),
            _reflection(),
        )
        for method in methods
    }
)
"""Every method by its path, for example "/inference.GRPCInferenceService/ModelInfer"."""
