"""Who tells: the attributes that all figures and spans of this server share."""

from importlib.metadata import version
from typing import Final
from uuid import uuid4

from opentelemetry.sdk.resources import SERVICE_INSTANCE_ID, SERVICE_NAME, SERVICE_VERSION, Resource
from opentelemetry.sdk.util.instrumentation import InstrumentationScope

from shoal_server.telemetry.conventions import SCHEMA_URL

_UNSAID: Final = "unknown_service"


def resource() -> Resource:
    """Return what OTEL_SERVICE_NAME and OTEL_RESOURCE_ATTRIBUTES say, and ours where they say nothing."""
    said = Resource.create()
    own = {SERVICE_NAME: "shoal", SERVICE_VERSION: version("shoal"), SERVICE_INSTANCE_ID: str(uuid4())}
    name = str(said.attributes.get(SERVICE_NAME, _UNSAID))
    kept = {key: value for key, value in said.attributes.items() if key != SERVICE_NAME or not name.startswith(_UNSAID)}
    return Resource({**own, **kept}, SCHEMA_URL)


def scope() -> InstrumentationScope:
    """Return the name under which this server measures itself."""
    return InstrumentationScope("shoal", version("shoal"), SCHEMA_URL)
