"""The Shoal client: numpy in and out over the Open Inference Protocol.

::

    from shoal_client import Client

    with Client("127.0.0.1:8001") as client:
        print(client.infer("digits", {"X": [0.0] * 64})["label"])

``AsyncClient`` is the same for asyncio. Everything works with any server of the protocol; what is an extension says so.

The way of a call through the modules, each of which knows only those after it::

    sync > client > inference > coalesce > caller > channel > the wire
    (blocking)  (asyncio)  (what to send)  (with whom)  (to whom, until when, how often)

What is decided on the way is pure and has a module of its own: ``retry``, ``hedging``, ``health``, ``window``,
``signature``. ``pipeline`` and ``following`` are the ways of streams.
"""

from shoal_client.admin import AsyncAdmin
from shoal_client.client import AsyncClient
from shoal_client.errors import (
    CallError,
    Cancelled,
    ClientClosed,
    ClientError,
    ConfigurationError,
    Conflict,
    DeadlineExceeded,
    InvalidInput,
    InvalidRequest,
    NotFound,
    Overloaded,
    PermissionDenied,
    PreconditionFailed,
    ProtocolError,
    ServerError,
    Unauthenticated,
    Unavailable,
    Unsupported,
)
from shoal_client.following import Operation
from shoal_client.health import TargetHealth
from shoal_client.hedging import Hedging
from shoal_client.information import ModelStatistics, RepositoryEntry, ServerMetadata, Spent
from shoal_client.operation import (
    LabelChange,
    ModelEvent,
    ModelStatus,
    OperationResult,
    Step,
    VersionStatus,
)
from shoal_client.options import ClientOptions, Keepalive
from shoal_client.result import Result, Timings
from shoal_client.retry import RetryOptions
from shoal_client.signature import ModelMetadata, TensorSpec
from shoal_client.sync import Client
from shoal_client.sync_admin import Admin
from shoal_client.tls import Tls
from shoal_client.window import Coalescing

__all__ = [
    "Admin",
    "AsyncAdmin",
    "AsyncClient",
    "CallError",
    "Cancelled",
    "Client",
    "ClientClosed",
    "ClientError",
    "ClientOptions",
    "Coalescing",
    "ConfigurationError",
    "Conflict",
    "DeadlineExceeded",
    "Hedging",
    "InvalidInput",
    "InvalidRequest",
    "Keepalive",
    "LabelChange",
    "ModelEvent",
    "ModelMetadata",
    "ModelStatistics",
    "ModelStatus",
    "NotFound",
    "Operation",
    "OperationResult",
    "Overloaded",
    "PermissionDenied",
    "PreconditionFailed",
    "ProtocolError",
    "RepositoryEntry",
    "Result",
    "RetryOptions",
    "ServerError",
    "ServerMetadata",
    "Spent",
    "Step",
    "TargetHealth",
    "TensorSpec",
    "Timings",
    "Tls",
    "Unauthenticated",
    "Unavailable",
    "Unsupported",
    "VersionStatus",
]
