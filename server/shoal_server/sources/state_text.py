"""What operators want of all models, as the text of one file."""

import json
from collections.abc import Mapping
from typing import Any, Final

from shoal_server.lifecycle.desired import Desired

FORMAT: Final = 1

_FIELDS: Final = {"versions", "current", "previous", "labels"}


def written(desired: Mapping[str, Desired]) -> str:
    """Return the text."""
    models = {
        name: {
            "versions": None if one.versions is None else list(one.versions),
            "current": one.current,
            "previous": one.previous,
            "labels": dict(sorted(one.labels.items())),
        }
        for name, one in sorted(desired.items())
    }
    return json.dumps({"format": FORMAT, "models": models}, indent=2) + "\n"


def read(text: str) -> dict[str, Desired]:
    """Return what a text says.

    Raises:
        ValueError: it is not such a text; the text of the error says where.
    """
    try:
        found = json.loads(text)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON from line {error.lineno}, column {error.colno} on") from error
    except ValueError as error:
        raise ValueError("it has a number of too many digits") from error
    except RecursionError as error:
        raise ValueError("it is nested too deep") from error
    if not isinstance(found, dict) or "format" not in found:
        raise ValueError("it has no format number")
    if found["format"] != FORMAT:
        raise ValueError(f"it has format {found['format']!r:.40}, and this server knows {FORMAT}")
    models = found.get("models")
    if set(found) != {"format", "models"} or not isinstance(models, dict):
        raise ValueError(f"wanted 'format' and 'models', got {sorted(found)!r:.200}")
    return {name: _one(name, entry) for name, entry in models.items()}


def _one(name: str, entry: Any) -> Desired:  # noqa: ANN401 - whatever the file holds
    if not isinstance(entry, dict) or set(entry) != _FIELDS:
        raise ValueError(f"model {name!r:.80} has not the fields {sorted(_FIELDS)}")
    versions, current, previous, labels = entry["versions"], entry["current"], entry["previous"], entry["labels"]
    if versions is not None and not (isinstance(versions, list) and all(map(_is_version, versions))):
        raise ValueError(f"model {name!r:.80} has versions that are no list of numbers above 0")
    if (versions is None) != (current is None) or not (current is None or current == 0 or _is_version(current)):
        raise ValueError(f"model {name!r:.80} has no current version that goes with its versions")
    if previous is not None and not _is_version(previous):
        raise ValueError(f"model {name!r:.80} has a previous version that is no number above 0")
    if not isinstance(labels, dict) or not all(map(_is_version, labels.values())):
        raise ValueError(f"model {name!r:.80} has labels that stand for no numbers above 0")
    for word in (name, *labels):
        if any("\ud800" <= character <= "\udfff" for character in word):
            # No message could carry it.
            raise ValueError(f"model {name!r:.80} has a name that is no text: {word!r:.80}")
    return Desired(None if versions is None else tuple(sorted(set(versions))), current, previous, labels)


def _is_version(value: Any) -> bool:  # noqa: ANN401 - whatever the file holds
    return type(value) is int and 0 < value < 1 << 63
