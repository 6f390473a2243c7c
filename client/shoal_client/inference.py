"""One inference, from what the caller gave to the result: the use case of this package in a page."""

from collections.abc import Sequence

from google.protobuf.message import DecodeError

from shoal.inference import grpc_service_pb2 as pb
from shoal_client.call import Call
from shoal_client.caller import Caller
from shoal_client.coalesce import Answer, Coalescer
from shoal_client.errors import (
    CallError,
    DeadlineExceeded,
    InvalidInput,
    InvalidRequest,
    NotFound,
    ProtocolError,
    Unsupported,
)
from shoal_client.information import INFERENCE
from shoal_client.knowledge import Knowledge
from shoal_client.options import ClientOptions, Metadata
from shoal_client.request import Ask, Tensor, message_of, needs_metadata, tensors_of
from shoal_client.result import Result, Timings, parameters_of
from shoal_client.signature import Signature
from shoal_client.tensors import outputs_of


class Inferences:
    """Asks models. What is known of them is in ``knowledge``; rows travel together if the options say so."""

    def __init__(self, caller: Caller, knowledge: Knowledge, options: ClientOptions) -> None:
        self._caller = caller
        self._knowledge = knowledge
        self._hedge = options.hedging is not None
        self._coalescer = Coalescer(options.coalescing, self._send) if options.coalescing is not None else None

    async def close(self) -> None:
        """Fail whoever still waits to leave."""
        if self._coalescer is not None:
            await self._coalescer.close()

    async def infer(self, ask: Ask, timeout_s: float, metadata: Metadata) -> Result:
        """Return the result.

        Raises:
            InvalidInput: a value cannot be sent.
            CallError: the server refused or failed, or the time is over.
            ProtocolError: the answer is none.
        """
        began_s = self._caller.now_s()
        deadline_s = began_s + timeout_s
        if ask.priority:
            await self._knowledge.check_offered("schedule_policy", "a priority", ask.model, timeout_s)
        tensors, signature = await self.prepare(ask, deadline_s)
        try:
            answer, waited_s, rows = await self._ask(ask, tensors, signature, deadline_s, metadata)
        except (InvalidRequest, NotFound):
            renewed = await self._renewed(ask, signature, deadline_s)
            if renewed is None:
                raise
            tensors = tensors_of(ask, renewed.metadata)
            answer, waited_s, rows = await self._ask(ask, tensors, renewed, deadline_s, metadata)
        self._knowledge.signatures.answered(ask.key, answer.model_version)
        timings = Timings(self._caller.now_s() - began_s, waited_s, answer.attempts, answer.hedged, rows)
        return result_of(ask, answer, timings)

    async def prepare(self, ask: Ask, deadline_s: float) -> tuple[list[Tensor], Signature | None]:
        """Return what will be sent, and the signature that it rests on, if it does.

        Raises:
            InvalidInput: a value cannot be sent.
            CallError: the metadata is needed and could not be had.
        """
        if not needs_metadata(ask.inputs) and self._coalescer is None:
            return tensors_of(ask, None), None
        known = self._knowledge.signatures.get(ask.key)
        try:
            signature = known or await self._knowledge.signature(ask.key, deadline_s)
        except Unsupported:
            if needs_metadata(ask.inputs):
                raise
            return tensors_of(ask, None), None  # arrays need no metadata, they only cannot travel together
        try:
            return tensors_of(ask, signature.metadata), signature
        except InvalidInput:
            if known is None:
                raise
            # A newer version may take what the one that we know does not.
            self._knowledge.signatures.forget(ask.key)
            signature = await self._knowledge.signature(ask.key, deadline_s)
            return tensors_of(ask, signature.metadata), signature

    async def _renewed(self, ask: Ask, used: Signature | None, deadline_s: float) -> Signature | None:
        """Return the signature as it is now, if it is another than the one that a refused request was made by."""
        if used is None or not needs_metadata(ask.inputs):
            return None
        self._knowledge.signatures.forget(ask.key)
        try:
            signature = await self._knowledge.signature(ask.key, deadline_s)
        except CallError:
            return None  # what the server said first is what counts
        return signature if signature.metadata.inputs != used.metadata.inputs else None

    async def _ask(
        self,
        ask: Ask,
        tensors: Sequence[Tensor],
        signature: Signature | None,
        deadline_s: float,
        metadata: Metadata,
    ) -> tuple[Answer, float, int]:
        if self._coalescer is not None and signature is not None and signature.most_rows > 1:
            ride = await self._coalescer.ride(ask, tensors, deadline_s, metadata, signature.most_rows)
            if ride is not None:
                return ride
        return await self._send(ask, tensors, deadline_s, metadata), 0.0, 0

    async def _send(self, ask: Ask, tensors: Sequence[Tensor], deadline_s: float, metadata: Metadata) -> Answer:
        timeout_s = deadline_s - self._caller.now_s()
        if timeout_s <= 0:
            raise DeadlineExceeded("the time was over before the request could be sent", model=ask.model)
        reply = await self._caller.unary(
            Call(
                INFERENCE + "ModelInfer",
                message_of(ask, tensors).SerializeToString(),
                timeout_s,
                ask.model,
                metadata,
                hedge=self._hedge,
            )
        )
        return answer_of(reply.message, reply.target, reply.attempts, hedged=reply.hedged)


def answer_of(message: bytes | pb.ModelInferResponse, target: str, attempts: int, *, hedged: bool = False) -> Answer:
    """Return what a response says.

    Raises:
        ProtocolError: it is no ModelInferResponse, or contradicts itself.
    """
    try:
        response = pb.ModelInferResponse.FromString(message) if isinstance(message, bytes) else message
    except DecodeError:
        raise ProtocolError(f"{target} answered with something that is no ModelInferResponse") from None
    return Answer(
        outputs_of(response),
        response.model_name,
        response.model_version,
        parameters_of(response),
        target,
        attempts,
        hedged,
    )


def result_of(ask: Ask, answer: Answer, timings: Timings) -> Result:
    """Return the result that answers what was asked."""
    return Result(
        answer.arrays,
        model_name=answer.model_name or ask.model,
        model_version=answer.model_version,
        id=ask.request_id,
        parameters=answer.parameters,
        timings=timings,
    )
