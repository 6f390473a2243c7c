"""grpc.reflection: what services there are and what their messages look like, for tools such as grpcurl."""

from google.protobuf.descriptor import FileDescriptor
from google.protobuf.descriptor_pool import DescriptorPool

from shoal.reflection import reflection_pb2 as pb
from shoal_server.errors import InvalidRequest
from shoal_server.rpc.cold import parsed
from shoal_server.rpc.failure import fail
from shoal_server.transport.port import Status, Stream


class ReflectionMethods:
    """Answers from a pool of descriptors (github.com/grpc/grpc, doc/server-reflection.md)."""

    def __init__(self, pool: DescriptorPool, services: tuple[str, ...]) -> None:
        self._pool = pool
        self._services = services

    async def info(self, stream: Stream) -> None:
        """Answer each question of the stream, in order."""
        count = 0
        while (message := await stream.receive()) is not None:
            try:
                request = parsed(pb.ServerReflectionRequest, message)
            except InvalidRequest as error:
                fail(stream, error)
                return
            response = self._answer(request)
            response.valid_host = request.host
            response.original_request.CopyFrom(request)
            stream.send(response.SerializeToString())
            count += 1
            await stream.sent(count)

    def _answer(  # noqa: PLR0911 - one return per kind of question
        self, request: pb.ServerReflectionRequest
    ) -> pb.ServerReflectionResponse:
        pool = self._pool
        try:
            match request.WhichOneof("message_request"):
                case "list_services":
                    services = [pb.ServiceResponse(name=name) for name in self._services]
                    return pb.ServerReflectionResponse(list_services_response=pb.ListServiceResponse(service=services))
                case "file_by_filename":
                    return _files(pool.FindFileByName(request.file_by_filename))
                case "file_containing_symbol":
                    return _files(_file_of(pool, request.file_containing_symbol))
                case "file_containing_extension":
                    extension = request.file_containing_extension
                    message = pool.FindMessageTypeByName(extension.containing_type)
                    found = pool.FindExtensionByNumber(message, extension.extension_number)
                    return _files(pool.FindFileContainingSymbol(found.full_name))
                case "all_extension_numbers_of_type":
                    name = request.all_extension_numbers_of_type
                    every = pool.FindAllExtensions(pool.FindMessageTypeByName(name))
                    numbers = sorted(extension.number for extension in every)
                    return pb.ServerReflectionResponse(
                        all_extension_numbers_response=pb.ExtensionNumberResponse(
                            base_type_name=name, extension_number=numbers
                        )
                    )
                case _:
                    return _error(Status.INVALID_ARGUMENT, "no question was asked")
        except KeyError:
            return _error(Status.NOT_FOUND, "no such file, symbol or extension")


def _file_of(pool: DescriptorPool, symbol: str) -> FileDescriptor:
    try:
        return pool.FindFileContainingSymbol(symbol)
    except KeyError:
        # protobuf's fast implementation finds every kind of symbol by that but methods.
        return pool.FindMethodByName(symbol).containing_service.file


def _files(file: FileDescriptor) -> pb.ServerReflectionResponse:
    """Return a file and all that it imports, each once, imports first."""
    seen: dict[str, bytes] = {}

    def add(descriptor: FileDescriptor) -> None:
        if descriptor.name not in seen:
            for dependency in descriptor.dependencies:
                add(dependency)
            seen[descriptor.name] = descriptor.serialized_pb

    add(file)
    return pb.ServerReflectionResponse(
        file_descriptor_response=pb.FileDescriptorResponse(file_descriptor_proto=list(seen.values()))
    )


def _error(status: Status, text: str) -> pb.ServerReflectionResponse:
    return pb.ServerReflectionResponse(error_response=pb.ErrorResponse(error_code=status.value, error_message=text))
