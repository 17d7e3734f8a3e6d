"""run.log of a service: a JSON object a line, named as the Elastic Common Schema does.

Filebeat and other shippers take it without a parser (ECS 8: base, event, error, http, log, url).
"""

import json
import logging
import traceback
from datetime import UTC, datetime

from strided.errors import describe_error, printable
from strided.version import __version__


class JsonLines(logging.Formatter):
    """Formats a record as one line; `extra={"fields": {...}}` adds fields to it."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, in ASCII."""
        time = datetime.fromtimestamp(record.created, UTC)
        line = {
            "@timestamp": time.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
            "log.level": record.levelname.lower(),
            "message": printable(record.getMessage()),
            "ecs.version": "8.11",
            "service.name": "strided",
            "service.version": __version__,
            **getattr(record, "fields", {}),
        }
        if record.exc_info and (error := record.exc_info[1]) is not None:
            line["error.type"] = type(error).__name__
            line["error.message"] = str(error)
            line["error.stack_trace"] = "".join(traceback.format_exception(error))
        return json.dumps(line)


def line_of(error: BaseException, *, is_stop: bool) -> str:
    """Return the line of what ended a service; a stop by a signal is no fault."""
    level = logging.INFO if is_stop else logging.ERROR
    given = None if is_stop else (type(error), error, error.__traceback__)
    record = logging.LogRecord("strided", level, "", 0, "%s", (describe_error(error),), given)
    return JsonLines().format(record) + "\n"
