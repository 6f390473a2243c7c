"""HTTP towards a collector that may answer without end, or never quite."""

import io
import time
from typing import Any, Final

import requests
from requests.adapters import HTTPAdapter

MOST_BYTES: Final = 1 << 14
WITHIN_S: Final = 5.0


def bounded_session() -> requests.Session:
    """Return a session that reads of an answer ``MOST_BYTES`` bytes at most, for ``WITHIN_S`` seconds at most.

    What is beyond is left unread with the connection: whether something was taken, the status has said by then. An
    answer that sends us elsewhere is an error: the exporters would not go there, and would hold it to be a success.
    """
    session = requests.Session()
    for scheme in ("http://", "https://"):
        session.mount(scheme, _BoundedAnswers())
    return session


class _BoundedAnswers(HTTPAdapter):
    def send(self, request: requests.PreparedRequest, *arguments: Any, **options: Any) -> requests.Response:  # noqa: ANN401 - the base class's
        response = super().send(request, *arguments, **{**options, "stream": True})
        answer = response.raw
        body = bytearray()
        ends_s = time.monotonic() + WITHIN_S
        try:
            # One at a time: it waits for as many as it is asked for, and each of them may take its time.
            while len(body) < MOST_BYTES and time.monotonic() < ends_s and (more := answer.read(1)):
                body += more
        finally:
            if len(body) < MOST_BYTES and time.monotonic() < ends_s:
                answer.release_conn()
            else:
                answer.close()
        response.raw = io.BytesIO(bytes(body))
        if 300 <= response.status_code < 400:  # noqa: PLR2004 - the statuses of what is to be had elsewhere
            raise requests.RequestException(f"it answers {response.status_code}", response=response)
        return response
