# SPDX-License-Identifier: Apache-2.0
"""Short HTTP requests, each on a connection of its own, for control and admin interfaces."""

import http.client
import json
from typing import Any, Dict, NamedTuple, Optional


class Answer(NamedTuple):
    """A response: fields have lower-case names."""

    status: int
    fields: Dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body as JSON."""
        return json.loads(self.body)


def fetch(address: str, path: str, method: str = "GET", body: Optional[bytes] = None,
          fields: Optional[Dict[str, str]] = None, timeout_s: float = 10.0) -> Answer:
    """One request; an OSError where there is no HTTP answer."""
    host, _, port = address.rpartition(":")
    conn = http.client.HTTPConnection(host.strip("[]"), int(port), timeout=timeout_s)
    try:
        conn.request(method, path, body, fields or {})
        response = conn.getresponse()
        got = {name.lower(): value for name, value in response.getheaders()}
        return Answer(response.status, got, response.read())
    except http.client.HTTPException as error:
        raise OSError(f"{method} http://{address}{path}: {error!r}") from error
    finally:
        conn.close()
