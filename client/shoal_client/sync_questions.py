"""What a client can ask a server besides inferences, for callers without an event loop."""

from shoal.inference.model_config_pb2 import ModelConfig
from shoal_client.health import TargetHealth
from shoal_client.information import ModelStatistics, RepositoryEntry, ServerMetadata
from shoal_client.loop_thread import LoopThread
from shoal_client.questions import AsyncQuestions, Version
from shoal_client.signature import ModelMetadata
from shoal_client.sync_admin import Admin


class Questions:
    """The part of ``Client`` that asks about servers and models; each method is that of ``AsyncQuestions``."""

    def __init__(self, questions: AsyncQuestions, loop: LoopThread) -> None:
        self._questions = questions
        self._loop = loop

    def live(self, *, target: str = "", timeout_s: float | None = None) -> bool:
        """Whether the server is alive; False if it cannot be reached."""
        return self._loop.run(self._questions.live(target=target, timeout_s=timeout_s))

    def ready(
        self, model: str = "", version: Version = "", *, target: str = "", timeout_s: float | None = None
    ) -> bool:
        """Whether the server, or a model of it, would take an inference now; False if it cannot be reached."""
        return self._loop.run(self._questions.ready(model, version, target=target, timeout_s=timeout_s))

    def server_metadata(self, *, timeout_s: float | None = None) -> ServerMetadata:
        """Return name, version and extensions of the server."""
        return self._loop.run(self._questions.server_metadata(timeout_s=timeout_s))

    def metadata(self, model: str, version: Version = "", *, timeout_s: float | None = None) -> ModelMetadata:
        """Return what a model takes and gives."""
        return self._loop.run(self._questions.metadata(model, version, timeout_s=timeout_s))

    def config(self, model: str, version: Version = "", *, timeout_s: float | None = None) -> ModelConfig:
        """Return a model's configuration (an extension)."""
        return self._loop.run(self._questions.config(model, version, timeout_s=timeout_s))

    def statistics(
        self, model: str = "", version: Version = "", *, target: str = "", timeout_s: float | None = None
    ) -> tuple[ModelStatistics, ...]:
        """Return what each version has done since it was loaded (an extension)."""
        return self._loop.run(self._questions.statistics(model, version, target=target, timeout_s=timeout_s))

    def health(self) -> tuple[TargetHealth, ...]:
        """Return what this client has found out about each of its targets."""

        async def health() -> tuple[TargetHealth, ...]:
            return self._questions.health()

        return self._loop.run(health())

    def renew_tls(self) -> bool:
        """Look at the certificate files now; return whether they had changed."""
        return self._loop.run(self._questions.renew_tls())

    def repository_index(
        self, *, ready: bool = False, target: str = "", timeout_s: float | None = None
    ) -> tuple[RepositoryEntry, ...]:
        """Return every model version that the server's repository holds (an extension)."""
        return self._loop.run(self._questions.repository_index(ready=ready, target=target, timeout_s=timeout_s))

    def load_model(
        self, model: str, *, config_json: str = "", target: str = "", timeout_s: float | None = None
    ) -> None:
        """Load a model, or load it again (an extension); never sent twice."""
        self._loop.run(self._questions.load_model(model, config_json=config_json, target=target, timeout_s=timeout_s))

    def unload_model(
        self, model: str, *, dependents: bool = False, target: str = "", timeout_s: float | None = None
    ) -> None:
        """Unload every version of a model (an extension); never sent twice."""
        self._loop.run(self._questions.unload_model(model, dependents=dependents, target=target, timeout_s=timeout_s))

    @property
    def admin(self) -> Admin:
        """The admin service of the client's one target (Shoal)."""
        return Admin(self._questions.admin, self._loop)

    def admin_at(self, target: str) -> Admin:
        """Return the admin service of one of the targets."""
        return Admin(self._questions.admin_at(target), self._loop)
