"""What a client can ask a server besides inferences, for asyncio."""

from typing import Final, TypeVar

from google.protobuf.message import Message

from shoal.inference import grpc_service_pb2 as pb
from shoal.inference.model_config_pb2 import ModelConfig
from shoal_client.admin import AsyncAdmin
from shoal_client.caller import Caller
from shoal_client.errors import CallError
from shoal_client.health import TargetHealth
from shoal_client.information import (
    ModelStatistics,
    RepositoryEntry,
    ServerMetadata,
    model_metadata,
    model_statistics,
    repository_entry,
)
from shoal_client.knowledge import Knowledge
from shoal_client.options import ClientOptions, check_timeout
from shoal_client.signature import ModelMetadata

M = TypeVar("M", bound=Message)

Version = int | str
"""A version's number, or (Shoal) a label; "" for the newest one that is ready."""

_AWAY: Final = "UNAVAILABLE"


class AsyncQuestions:
    """The part of ``AsyncClient`` that asks about servers and models, and changes which models are served.

    ``target`` names one of the client's targets where there are several; "" asks whoever's turn it is. Times are in
    seconds, by default the client's ``timeout_s``. All raise the errors of ``shoal_client.errors``.
    """

    def __init__(self, caller: Caller, knowledge: Knowledge, options: ClientOptions) -> None:
        self.options = options
        self._caller = caller
        self._knowledge = knowledge

    async def live(self, *, target: str = "", timeout_s: float | None = None) -> bool:
        """Whether the server (any of the targets, or the one named) is alive; False if it cannot be reached."""
        try:
            answer = await self._ask(
                "ServerLive", pb.ServerLiveRequest(), pb.ServerLiveResponse, target=target, timeout_s=timeout_s
            )
        except CallError as error:
            if error.status != _AWAY:
                raise
            return False
        return answer.live

    async def ready(
        self, model: str = "", version: Version = "", *, target: str = "", timeout_s: float | None = None
    ) -> bool:
        """Whether the server, or a model of it, would take an inference now; False if it cannot be reached."""
        try:
            if not model:
                server = await self._ask(
                    "ServerReady", pb.ServerReadyRequest(), pb.ServerReadyResponse, target=target, timeout_s=timeout_s
                )
                return server.ready
            request = pb.ModelReadyRequest(name=model, version=str(version))
            answer = await self._ask(
                "ModelReady", request, pb.ModelReadyResponse, target=target, timeout_s=timeout_s, model=model
            )
        except CallError as error:
            if error.status not in (_AWAY, "NOT_FOUND"):
                raise
            return False
        return answer.ready

    async def server_metadata(self, *, timeout_s: float | None = None) -> ServerMetadata:
        """Return name, version and extensions of the server, as they are now."""
        return await self._knowledge.server(timeout_s, renew=True)

    async def metadata(self, model: str, version: Version = "", *, timeout_s: float | None = None) -> ModelMetadata:
        """Return what a model takes and gives, as it is now.

        Raises:
            NotFound: there is no such ready version.
        """
        request = pb.ModelMetadataRequest(name=model, version=str(version))
        return model_metadata(
            await self._ask("ModelMetadata", request, pb.ModelMetadataResponse, timeout_s=timeout_s, model=model)
        )

    async def config(self, model: str, version: Version = "", *, timeout_s: float | None = None) -> ModelConfig:
        """Return a model's configuration, a message of ``shoal.inference.model_config_pb2`` (an extension)."""
        request = pb.ModelConfigRequest(name=model, version=str(version))
        answer = await self._ask("ModelConfig", request, pb.ModelConfigResponse, timeout_s=timeout_s, model=model)
        return answer.config

    async def statistics(
        self, model: str = "", version: Version = "", *, target: str = "", timeout_s: float | None = None
    ) -> tuple[ModelStatistics, ...]:
        """Return what each version (of one model, or of all) has done since it was loaded (an extension)."""
        request = pb.ModelStatisticsRequest(name=model, version=str(version))
        answer = await self._ask(
            "ModelStatistics",
            request,
            pb.ModelStatisticsResponse,
            target=target,
            timeout_s=timeout_s,
            model=model,
        )
        return tuple([model_statistics(found) for found in answer.model_stats])

    def health(self) -> tuple[TargetHealth, ...]:
        """Return what this client has found out about each of its targets."""
        return self._caller.health()

    async def renew_tls(self) -> bool:
        """Look at the certificate files now; return whether they had changed, which opens new connections.

        Raises:
            ConfigurationError: they cannot be used; the connections stay as they are.
        """
        return await self._caller.renew_tls()

    # --- Repository (an extension) and admin ------------------------------------------------------------------------

    async def repository_index(
        self, *, ready: bool = False, target: str = "", timeout_s: float | None = None
    ) -> tuple[RepositoryEntry, ...]:
        """Return every model version that the server's repository holds; with ``ready`` those that are ready."""
        request = pb.RepositoryIndexRequest(ready=ready)
        answer = await self._ask(
            "RepositoryIndex", request, pb.RepositoryIndexResponse, target=target, timeout_s=timeout_s
        )
        return tuple([repository_entry(found) for found in answer.models])

    async def load_model(
        self, model: str, *, config_json: str = "", target: str = "", timeout_s: float | None = None
    ) -> None:
        """Load a model, or load it again, by the protocol's repository extension; never sent twice.

        Args:
            model: the model.
            config_json: a ModelConfig as JSON in place of the repository's; "" for none.
            target: which server; has to be named where the client has several targets.
            timeout_s: by default the client's ``operation_timeout_s``.
        """
        request = pb.RepositoryModelLoadRequest(model_name=model)
        if config_json:
            request.parameters["config"].string_param = config_json
        await self._change("RepositoryModelLoad", request, pb.RepositoryModelLoadResponse, target, timeout_s)

    async def unload_model(
        self, model: str, *, dependents: bool = False, target: str = "", timeout_s: float | None = None
    ) -> None:
        """Unload every version of a model, with ``dependents`` also what only it used; never sent twice."""
        request = pb.RepositoryModelUnloadRequest(model_name=model)
        if dependents:
            request.parameters["unload_dependents"].bool_param = True
        await self._change("RepositoryModelUnload", request, pb.RepositoryModelUnloadResponse, target, timeout_s)

    @property
    def admin(self) -> AsyncAdmin:
        """The admin service of the client's one target (Shoal).

        Raises:
            ConfigurationError: there are several targets: use ``admin_at``.
        """
        return self.admin_at("")

    def admin_at(self, target: str) -> AsyncAdmin:
        """Return the admin service of one of the targets.

        Raises:
            ConfigurationError: it is none of them.
        """
        return AsyncAdmin(self._caller, self._knowledge, self.options, target)

    def _timeout(self, timeout_s: float | None) -> float:
        return self.options.timeout_s if timeout_s is None else check_timeout(timeout_s)

    async def _ask(  # noqa: PLR0913 - the parts of a call
        self,
        method: str,
        request: Message,
        answer: type[M],
        *,
        target: str = "",
        timeout_s: float | None = None,
        model: str = "",
    ) -> M:
        return await self._knowledge.ask(
            method,
            request,
            answer,
            timeout_s=self._timeout(timeout_s),
            model=model,
            only=self._caller.only(target),
        )

    async def _change(
        self,
        method: str,
        request: pb.RepositoryModelLoadRequest | pb.RepositoryModelUnloadRequest,
        answer: type[M],
        target: str,
        timeout_s: float | None,
    ) -> None:
        await self._knowledge.ask(
            method,
            request,
            answer,
            timeout_s=self.options.operation_timeout_s if timeout_s is None else check_timeout(timeout_s),
            model=request.model_name,
            idempotent=False,
            only=self._caller.the_one(target),
        )
