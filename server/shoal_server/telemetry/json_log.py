"""A log of which each line is a JSON object."""

import json
import logging
from datetime import UTC, datetime
from typing import Final

FIELDS: Final = ("model", "version", "trace_id", "span_id")
"""What a line may also say; whoever logs gives them as ``extra``."""


class JsonFormatter(logging.Formatter):
    """Writes ``time`` (RFC 3339, UTC), ``level``, ``logger`` and ``message``, then what else is known of the event."""

    def format(self, record: logging.LogRecord) -> str:
        """Return one line."""
        line: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= {name: value for name in FIELDS if (value := getattr(record, name, None)) is not None}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        return json.dumps(line, ensure_ascii=False, default=str)
