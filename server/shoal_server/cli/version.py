"""`shoal version`."""

from importlib.metadata import PackageNotFoundError, version

import typer


def command() -> int:
    """Print the version.

    Example:
        shoal version
    """
    typer.echo(f"shoal {version_of('shoal')}")
    return 0


def version_of(package: str) -> str:
    """Return the version of an installed distribution."""
    try:
        return version(package)
    except PackageNotFoundError:
        return "(not installed as a package)"
