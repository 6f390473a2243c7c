"""What is found out about a model whose owner declares variable lengths."""

from typing import Final, NamedTuple

import numpy as np

from shoal_server.errors import ExecutionFailed
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.options import BatchingMode, BatchingOptions, BatchInvariance
from shoal_server.runtime.batch_probe import Finding
from shoal_server.runtime.made_up import Execute, Profile, Recipe
from shoal_server.runtime.ort_session import OrtSession
from shoal_server.runtime.padding_probe import PaddingProbe, of_length
from shoal_server.tensors.declared_lengths import resolve
from shoal_server.tensors.invariance import InvarianceFinding
from shoal_server.tensors.lengths import Lengths
from shoal_server.tensors.spec import Signature

_USUAL_LENGTHS: Final = (64, 32, 16, 8)
_SHORTEST: Final = 8
DEPENDS_ON_LENGTHS: Final = InvarianceFinding(invariant=None, reason="rows are padded to the lengths of others")


class Batch(NamedTuple):
    """A batch whose time is measured: its padded cells, and what it is made of."""

    cells: int
    recipe: Recipe
    rows: int


class Varying(NamedTuple):
    """The signature with its lengths, a sentence for the operator, and the recipe for rows of a usual length.

    The recipe is None where nothing could be made up.
    """

    signature: Signature
    remark: str
    recipe: Recipe | None
    usual_length: int

    @property
    def padded(self) -> bool:
        """Whether lengths are padded."""
        lengths = self.signature.lengths
        return lengths is not None and lengths.joined

    def batches(self, options: BatchingOptions, most_rows: int) -> list[Batch]:
        """Return the batches to be timed, ascending by padded cells: short rows first, which show the base cost."""
        recipe, usual = self.recipe, self.usual_length
        if recipe is None:
            return []
        length, rows, batches = min(_SHORTEST, usual), 1, list[Batch]()
        while rows <= most_rows:
            padded = options.padded(rows)
            batches.append(Batch(padded * length, of_length(recipe, self.signature, length), padded))
            if length < usual:
                length = min(2 * length, usual)
            else:
                rows *= 2
        return batches


def find_varying(
    signature: Signature, definition: ModelDefinition, finding: Finding, recipe: Recipe | None, execute: Execute
) -> Varying:
    """Find out whether padding changes answers; ``signature`` has the lengths as declared.

    Where it does, equal lengths still share batches, side by side, and masks and lengths are still made up.
    """
    lengths = signature.lengths
    assert lengths is not None, "the signature knows what varies"
    usual = 0
    if recipe is not None:
        usual, recipe = _usual(signature, recipe, execute)
    always = definition.batching.mode is BatchingMode.ALWAYS
    if not finding.batched:
        why = "rows are not batched"
    elif definition.answers.batch_invariant is not BatchInvariance.NEVER:
        why = "its owner wants answers that do not depend on the batch in any bit"
    elif always:
        why = ""
    elif recipe is None:
        why = "nothing could be made up to find out"
    else:
        why = PaddingProbe(execute, signature).find(recipe)
    if why:
        unjoined = Signature(signature.inputs, signature.outputs, signature.batched, lengths.unjoined())
        return Varying(unjoined, f"lengths are not padded: {why}", recipe, usual)
    vouched = "its owner vouches for it" if always else "no trial changed an answer"
    return Varying(signature, f"lengths are padded: {vouched}", recipe, usual)


def _usual(signature: Signature, recipe: Recipe, execute: Execute) -> tuple[int, Recipe | None]:
    """Return the first of the usual lengths that the model runs at, and the recipe for it; the longest if none does."""
    lengths = signature.lengths
    assert lengths is not None, "the signature knows what varies"
    fitting = [length for length in _USUAL_LENGTHS if not lengths.max_length or length <= lengths.max_length]
    for length in fitting or [lengths.max_length]:
        sized = of_length(recipe, signature, length)
        try:
            execute(sized.draw(np.random.default_rng(0), Profile.ORDINARY, 1))
        except ExecutionFailed:
            continue
        return length, sized
    return 0, None


def declared_lengths(definition: ModelDefinition, session: OrtSession) -> Lengths | None:
    """Return what the owner declares of lengths, held against the model.

    Raises:
        LoadFailed: it does not fit.
    """
    options = definition.batching.lengths
    if options is None:
        return None
    return resolve(options, [tensor.spec for tensor in session.inputs], [tensor.spec for tensor in session.outputs])
