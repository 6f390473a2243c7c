"""Whether callers of one version can call another. Pure."""

from collections.abc import Iterator

from shoal_server.tensors.spec import Signature, TensorSpec


def breaks(before: Signature, after: Signature) -> tuple[str, ...]:
    """Return what would break callers of ``before`` that call ``after``, a sentence for each; nothing if nothing would.

    An input may take more than it took, and be left out where it had to be sent; an output may be more definite than it
    was (a fixed dimension in the place of a free one), and there may be more of them.
    """
    return tuple(_inputs(before, after)) + tuple(_outputs(before, after))


def _inputs(before: Signature, after: Signature) -> Iterator[str]:
    new = {spec.name: spec for spec in after.inputs}
    old = {spec.name: spec for spec in before.inputs}
    for name, spec in old.items():
        other = new.get(name)
        if other is None:
            yield f"input '{name}' is gone"
            continue
        yield from _type(f"input '{name}'", spec, other)
        if not _within(spec, other):
            yield f"input '{name}' takes {_shape(other)}, where {_shape(spec)} was taken"
        if spec.optional and not other.optional:
            yield f"input '{name}' must be sent, and could be left out"
    for name, spec in new.items():
        if name not in old and not spec.optional:
            yield f"input '{name}' is new and must be sent"


def _outputs(before: Signature, after: Signature) -> Iterator[str]:
    new = {spec.name: spec for spec in after.outputs}
    for spec in before.outputs:
        other = new.get(spec.name)
        if other is None:
            yield f"output '{spec.name}' is gone"
            continue
        yield from _type(f"output '{spec.name}'", spec, other)
        if not _within(other, spec):
            yield f"output '{spec.name}' has {_shape(other)}, where it had {_shape(spec)}"


def _type(what: str, before: TensorSpec, after: TensorSpec) -> Iterator[str]:
    if before.datatype is not after.datatype:
        yield f"{what} is {after.datatype.value}, and was {before.datatype.value}"


def _within(narrow: TensorSpec, wide: TensorSpec) -> bool:
    """Whether every shape of the one is a shape of the other."""
    if wide.dims is None:
        return True
    if narrow.dims is None or len(narrow.dims) != len(wide.dims):
        return False
    return all(wanted in (-1, size) for size, wanted in zip(narrow.shape, wide.shape, strict=True))


def _shape(spec: TensorSpec) -> str:
    return "any shape" if spec.dims is None else str(list(spec.shape))
