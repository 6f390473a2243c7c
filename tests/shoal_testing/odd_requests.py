"""Requests as a careless or a hostile caller would make them: strategies for Hypothesis, and mutations of bytes."""

from math import prod
from random import Random
from typing import Final

from hypothesis import strategies as st

from shoal.inference import grpc_service_pb2 as pb
from shoal_server.tensors.datatype import DataType
from shoal_server.tensors.spec import Signature, TensorSpec
from shoal_server.tensors.text import encode_text

INT64: Final = 2**63
SIZES: Final = st.sampled_from([0, 1, 2, 3, -1, 31, 2**31, 2**32, INT64 - 1, -INT64]) | st.integers(-2, 8)
SHAPES: Final = st.lists(SIZES, max_size=4) | st.integers(30, 40).map(lambda rank: [1] * rank)
TYPES: Final = st.sampled_from([*(kind.value for kind in DataType), "", "FLOAT", "fp32", "FP32\0"])
NAMES: Final = st.sampled_from(["x", "y", "z", "", "X", "\0", "ü", "n" * 200]) | st.text(max_size=3)
RAW: Final = st.binary(max_size=40) | st.sampled_from(
    [b"\x01\x00\x00\x00a\x00\x00\x00\x00", b"\xff\xff\xff\xff", b"\x02\x00\x00\x00\xc3\x28", bytes(8), bytes(16)]
)

SIGNATURES: Final = tuple(
    Signature((TensorSpec("x", kind, dims), *more), (TensorSpec("y", kind, dims),), batched=batched)
    for kind in DataType
    for dims, batched in ((("", 2), True), (None, False), ((2,), False), ((), False))
    for more in ((), (TensorSpec("z", kind, ("",) if batched else (), optional=not batched),))
)
"""Models of every kind: with rows and without, of a fixed rank and of any, with a second input and without."""


@st.composite
def parameters(draw: st.DrawFn) -> pb.InferParameter:
    """Return a parameter of any kind, or of none."""
    match draw(st.integers(0, 5)):
        case 0:
            return pb.InferParameter(bool_param=draw(st.booleans()))
        case 1:
            return pb.InferParameter(int64_param=draw(st.integers(-INT64, INT64 - 1)))
        case 2:
            return pb.InferParameter(uint64_param=draw(st.integers(0, 2 * INT64 - 1)))
        case 3:
            return pb.InferParameter(double_param=draw(st.floats()))
        case 4:
            return pb.InferParameter(string_param=draw(st.text(max_size=5)))
    return pb.InferParameter()


KEYS: Final = st.sampled_from(["timeout", "priority", "shared_memory_region", "classification", "", "sequence_id"])


@st.composite
def contents(draw: st.DrawFn) -> pb.InferTensorContents:
    """Return typed contents, of one kind for the most part."""
    made = pb.InferTensorContents()
    for kind in draw(st.lists(st.integers(0, 7), max_size=2)):
        match kind:
            case 0:
                made.bool_contents.extend(draw(st.lists(st.booleans(), max_size=4)))
            case 1:
                made.int_contents.extend(draw(st.lists(st.integers(-(2**31), 2**31 - 1), max_size=4)))
            case 2:
                made.int64_contents.extend(draw(st.lists(st.integers(-INT64, INT64 - 1), max_size=4)))
            case 3:
                made.uint_contents.extend(draw(st.lists(st.integers(0, 2**32 - 1), max_size=4)))
            case 4:
                made.uint64_contents.extend(draw(st.lists(st.integers(0, 2 * INT64 - 1), max_size=4)))
            case 5:
                made.fp32_contents.extend(draw(st.lists(st.floats(width=32), max_size=4)))
            case 6:
                made.fp64_contents.extend(draw(st.lists(st.floats(), max_size=4)))
            case _:
                made.bytes_contents.extend(draw(st.lists(RAW, max_size=4)))
    return made


@st.composite
def right_requests(draw: st.DrawFn) -> pb.ModelInferRequest:
    """Return a request that fits one of the signatures."""
    request = pb.ModelInferRequest(model_name="m")
    signature = draw(st.sampled_from(SIGNATURES))
    rows = draw(st.integers(0, 3))
    for spec in signature.inputs:
        if spec.optional and draw(st.booleans()):
            continue
        dims = draw(st.lists(st.integers(0, 3), max_size=3)) if spec.dims is None else spec.dims
        shape = [dim if isinstance(dim, int) else rows for dim in dims]
        request.inputs.add(name=spec.name, datatype=spec.datatype.value, shape=shape)
        count = prod(shape)
        if spec.datatype is DataType.BYTES:
            texts = draw(st.lists(st.text(max_size=3), min_size=count, max_size=count))
            request.raw_input_contents.append(b"".join(encode_text(texts)))
        else:
            size = count * spec.datatype.itemsize
            element = st.integers(0, 1 if spec.datatype is DataType.BOOL else 255)
            request.raw_input_contents.append(bytes(draw(st.lists(element, min_size=size, max_size=size))))
    return request


@st.composite
def requests(draw: st.DrawFn) -> pb.ModelInferRequest:
    """Return a request that is right in many respects, and wrong in some for the most part."""
    request = draw(right_requests())
    if draw(st.booleans()):
        return request
    for key in draw(st.lists(KEYS, max_size=2)):
        request.parameters[key].CopyFrom(draw(parameters()))
    for tensor in request.inputs:
        _spoil_input(draw, tensor)
    _spoil_whole(draw, request)
    return request


def _spoil_input(draw: st.DrawFn, tensor: pb.ModelInferRequest.InferInputTensor) -> None:
    match draw(st.integers(0, 8)):
        case 0:
            tensor.name = draw(NAMES)
        case 1:
            tensor.datatype = draw(TYPES)
        case 2:
            del tensor.shape[:]
            tensor.shape.extend(draw(SHAPES))
        case 3:
            tensor.contents.CopyFrom(draw(contents()))
        case 4:
            tensor.parameters[draw(KEYS)].CopyFrom(draw(parameters()))


def _spoil_whole(draw: st.DrawFn, request: pb.ModelInferRequest) -> None:
    match draw(st.integers(0, 8)):
        case 0:
            request.raw_input_contents.extend(draw(st.lists(RAW, max_size=2)))
        case 1:
            del request.raw_input_contents[:]
            for tensor in request.inputs:
                tensor.contents.CopyFrom(draw(contents()))
        case 2:
            request.inputs.add(name=draw(NAMES), datatype=draw(TYPES), shape=draw(SHAPES))
        case 3 if request.inputs:
            request.inputs.append(request.inputs[0])
        case 4:
            request.outputs.add(name=draw(NAMES)).parameters[draw(KEYS)].CopyFrom(draw(parameters()))
        case 5:
            request.model_name, request.model_version, request.id = draw(NAMES), draw(NAMES), draw(NAMES)


def mutated(message: bytes, random: Random) -> bytes:
    """Return the bytes with some of them flipped, cut out, doubled, or replaced by what is often mishandled."""
    data = bytearray(message)
    for _ in range(random.randrange(1, 5)):
        position = random.randrange(len(data) + 1)
        end = min(len(data), position + random.randrange(1, 9))
        match random.randrange(6):
            case 0 if position < len(data):
                data[position] ^= 1 << random.randrange(8)
            case 1:
                del data[position:end]
            case 2:
                data[position:position] = data[position:end]
            case 3:
                data[position:end] = random.choice([b"\xff" * 10, b"\x80" * 9 + b"\x01", b"\x00", b"\x7f\xff\xff\xff"])
            case 4:
                data[position:position] = random.randbytes(random.randrange(1, 9))
            case _:
                data[position:] = data[:position]
    return bytes(data[:4096])
