"""One model's folder, read into its definition.

Each reader of a configuration is imported by the first model that has one: many a server has none.
"""

from pathlib import Path

from shoal_server.errors import LoadFailed
from shoal_server.lifecycle.definition import ModelDefinition
from shoal_server.sources.settings import CONFIG_FILE, OPTIONS_FILE, Settings
from shoal_server.sources.tree import Tree
from shoal_server.sources.versions import Versions, find_versions


def describe_folder(tree: Tree, folder: Path, model: str, defaults: Settings) -> ModelDefinition:
    """Return the model whose versions and configuration lie in ``folder``; ``defaults`` hold where that is silent.

    Raises:
        LoadFailed: its configuration cannot be understood, or it has no version that can be served.
    """
    tree.require_inside(folder)
    settings = read_settings(tree, folder, model, defaults)
    return define(model, settings, find_versions(tree, folder, settings.file_name))


def read_settings(tree: Tree, folder: Path, model: str, defaults: Settings) -> Settings:
    """Return what the configuration in a model's folder asks for: config.pbtxt if there is one, over it model.toml.

    Raises:
        LoadFailed: one of them cannot be read or understood.
    """
    settings = defaults
    names = tree.names(folder)
    if CONFIG_FILE in names:
        from shoal_server.sources.triton_config import read_config  # noqa: PLC0415 - see the module

        settings = read_config(tree, folder, model, defaults)
    if OPTIONS_FILE in names:
        from shoal_server.sources.model_toml import apply_options  # noqa: PLC0415 - see the module

        settings = apply_options(tree, folder, settings)
    return settings


def define(model: str, settings: Settings, versions: Versions) -> ModelDefinition:
    """Return the definition of a model with these settings and versions.

    Raises:
        LoadFailed: none of the versions that the settings ask for is complete.
    """
    warnings = [*settings.warnings, *versions.remarks]
    warnings += [f"version {number} of '{model}' is not served: {why}" for number, why in versions.refused.items()]
    asked = settings.policy.specific
    absent = [number for number in asked if number not in versions.complete and number not in versions.refused]
    warnings += [f"version {number} of '{model}' is asked for and not there" for number in absent]
    definition = ModelDefinition(
        name=model,
        versions=versions.complete,
        policy=settings.policy,
        batching=settings.batching,
        runtime=settings.runtime,
        answers=settings.answers,
        inputs=settings.inputs,
        outputs=settings.outputs,
        warmups=settings.warmups,
        config=settings.config,
        warnings=tuple(warnings),
        refused=versions.refused,
    )
    if not definition.wanted:
        number = min(asked, default=1)
        why = "; ".join([*versions.refused.values(), *versions.remarks])
        which = f" of {list(asked)}" if asked else ""
        raise LoadFailed(
            f"no version{which} of model '{model}' can be served: wanted {model}/{number}/{settings.file_name}"
            + (f"; {why}" if why else "")
        )
    return definition
