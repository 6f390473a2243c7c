"""`shoal infer`: run a model once, by hand."""

import json
from collections.abc import Mapping, Sequence
from typing import Annotated, Final

import numpy as np
import typer

from shoal.inference import grpc_service_pb2 as pb
from shoal_server.cli import arrays
from shoal_server.cli.failure import MISUSED, Failure
from shoal_server.cli.model_names import names_told, with_names
from shoal_server.cli.remote import Address, CallFailed, Remote, Timeout
from shoal_server.cli.tls_flags import UNSAID, TlsFlags, with_tls
from shoal_server.tensors.datatype import DataType

_SERVICE: Final = "/inference.GRPCInferenceService"
_LABELS: Final = "shoal.labels."  # where ModelConfig.parameters has an output's class names, as a JSON list
_ROWS_SHOWN: Final = 20
_CLASSES_SHOWN: Final = 3

Labels = Mapping[str, Sequence[str]]


@with_tls
def command(  # noqa: PLR0913 - one for each flag
    model: Annotated[str, typer.Argument(metavar="MODEL", help="The model's name, as `shoal models` lists it.")],
    *,
    inputs: Annotated[
        list[str] | None,
        typer.Option(
            "--input",
            metavar="[NAME=]VALUE",
            help="@FILE.npy, @FILE.json or JSON: a scalar or nested lists. Once per input; the only one needs no name.",
        ),
    ] = None,
    outputs: Annotated[
        list[str] | None, typer.Option("--output", metavar="NAME", help="An output wanted; all if none is named.")
    ] = None,
    version: Annotated[
        str, typer.Option(metavar="VERSION", help="Its number, or a label; without it, the version that answers.")
    ] = "",
    address: Address = None,
    timeout_s: Timeout = 60.0,
    tls: TlsFlags = UNSAID,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for other programs.")] = False,
) -> int:
    """Run a model of a server once.

    Type and shape come from the model; one row may be given without its batch dimension.

    Example:
        shoal infer digits --input @image.npy
        shoal infer fraud --input amount=12.5 --input 'country="NL"' --output score --json
    """
    with Remote(address, timeout_s, tls) as server:
        metadata = _metadata(server, model, version)
        request = pb.ModelInferRequest(model_name=model, model_version=version)
        _add_inputs(request, metadata.inputs, inputs or ())
        request.outputs.extend(pb.ModelInferRequest.InferRequestedOutputTensor(name=name) for name in outputs or ())
        response = server.call(f"{_SERVICE}/ModelInfer", request, pb.ModelInferResponse)
        labels = _labels(server, model, response.model_version)
    results = [
        (output, arrays.decode(output.name, raw, DataType(output.datatype), output.shape))
        for output, raw in zip(response.outputs, response.raw_output_contents, strict=True)
    ]
    if as_json:
        typer.echo(json.dumps(_document(response, results, labels), ensure_ascii=False, allow_nan=False))
    else:
        typer.echo(f"{response.model_name}, version {response.model_version}")
        for output, array in results:
            typer.echo(f"\n{output.name}: {output.datatype} {list(output.shape)}")
            typer.echo(_readable(array, labels.get(output.name, ())))
    return 0


def _metadata(server: Remote, model: str, version: str) -> pb.ModelMetadataResponse:
    """Return what a model takes and gives.

    Raises:
        Failure: it cannot be had; of a model that is not there, with the names that are.
    """
    request = pb.ModelMetadataRequest(name=model, version=version)
    try:
        return server.call(f"{_SERVICE}/ModelMetadata", request, pb.ModelMetadataResponse)
    except CallFailed as failure:
        raise with_names(failure, model, lambda: names_told(server)) from failure


_Specs = Sequence[pb.ModelMetadataResponse.TensorMetadata]
_Results = Sequence[tuple[pb.ModelInferResponse.InferOutputTensor, arrays.Array]]


def _add_inputs(request: pb.ModelInferRequest, specs: _Specs, texts: Sequence[str]) -> None:
    for text in texts:
        spec, value = _named(specs, text)
        shape, raw = arrays.encode(spec.name, arrays.read(value), DataType(spec.datatype), spec.shape)
        request.inputs.add(name=spec.name, datatype=spec.datatype, shape=shape)
        request.raw_input_contents.append(raw)


def _named(specs: _Specs, text: str) -> tuple[pb.ModelMetadataResponse.TensorMetadata, str]:
    """Return the input that is meant, and the text of its value. Names and values may both hold `=`."""
    named = [spec for spec in specs if text.startswith(f"{spec.name}=")]
    if named:
        spec = max(named, key=lambda spec: len(spec.name))
        return spec, text.removeprefix(f"{spec.name}=")
    name, equals, _value = text.partition("=")
    if len(specs) == 1 and not (equals and name.isidentifier()):
        return specs[0], text
    known = ", ".join(f"{spec.name} {spec.datatype}{list(spec.shape)}" for spec in specs)
    raise Failure(f"--input {text!r:.60} names no input; the model takes {known}", MISUSED)


def _labels(server: Remote, model: str, version: str) -> Labels:
    request = pb.ModelConfigRequest(name=model, version=version)
    try:
        config = server.call(f"{_SERVICE}/ModelConfig", request, pb.ModelConfigResponse).config
    except Failure:
        return {}  # the answer is there; that the server or the version has left since takes nothing from it
    return {
        name.removeprefix(_LABELS): json.loads(parameter.string_value)
        for name, parameter in config.parameters.items()
        if name.startswith(_LABELS)
    }


def _document(response: pb.ModelInferResponse, results: _Results, labels: Labels) -> dict[str, object]:
    outputs: dict[str, object] = {}
    for output, array in results:
        known = {"labels": list(labels[output.name])} if output.name in labels else {}
        outputs[output.name] = {
            "datatype": output.datatype,
            "shape": list(output.shape),
            **known,
            "data": arrays.plain(array),
        }
    return {"model": response.model_name, "version": response.model_version, "outputs": outputs}


def _readable(array: arrays.Array, labels: Sequence[str]) -> str:
    if not labels or array.ndim != 2 or array.shape[1] != len(labels):  # noqa: PLR2004 - rows of scores
        return np.array2string(array, max_line_width=100, threshold=1000)
    lines = []
    for row, scores in enumerate(array[:_ROWS_SHOWN]):
        best = np.argsort(-scores, kind="stable")[:_CLASSES_SHOWN]
        lines.append(f"row {row}: " + ", ".join(f"{labels[index]} {scores[index]:.6g}" for index in best))
    if len(array) > _ROWS_SHOWN:
        lines.append(f"and {len(array) - _ROWS_SHOWN} more rows; --json prints them all")
    return "\n".join(lines)
