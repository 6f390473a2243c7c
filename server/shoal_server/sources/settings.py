"""How a model's owner wants it served, whatever file says so."""

from dataclasses import dataclass, field
from typing import Final

from shoal_server.lifecycle.definition import DeclaredTensor, VersionPolicy, Warmup
from shoal_server.options import AnswerOptions, BatchingOptions, RuntimeOptions
from shoal_server.sources.versions import MODEL_FILE

CONFIG_FILE: Final = "config.pbtxt"
"""What Triton asks of a model, in its folder."""
OPTIONS_FILE: Final = "model.toml"
"""What is asked of a model in our own words, in its folder."""


@dataclass(frozen=True, slots=True)
class Settings:
    """What is set for one model; the defaults are a model without any configuration.

    ``file_name`` is the model's file in a version's folder. The other fields are as in ``ModelDefinition``.
    """

    file_name: str = MODEL_FILE
    policy: VersionPolicy = field(default_factory=VersionPolicy)
    batching: BatchingOptions = field(default_factory=BatchingOptions)
    runtime: RuntimeOptions = field(default_factory=RuntimeOptions)
    answers: AnswerOptions = field(default_factory=AnswerOptions)
    inputs: tuple[DeclaredTensor, ...] = ()
    outputs: tuple[DeclaredTensor, ...] = ()
    warmups: tuple[Warmup, ...] = ()
    config: bytes = b""
    warnings: tuple[str, ...] = ()


NO_SETTINGS: Final = Settings()
