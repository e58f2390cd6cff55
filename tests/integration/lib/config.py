# SPDX-License-Identifier: Apache-2.0
"""Small configurations for tests: plain dicts, so that a test can change any part."""

from typing import Any, Dict, List, Optional

Config = Dict[str, Any]


def pool(*addresses: str, **options: Any) -> Config:
    """A pool of fixed endpoints."""
    return {"discover": {"static": list(addresses)}, **options}


def listener(routes: List[Config], name: str = "edge", **options: Any) -> Config:
    """An HTTP listener on a port of the kernel's choice."""
    return {"name": name, "bind": "127.0.0.1:0", **options, "http": {"routes": routes}}


def route(to: Any, path: str = "/", name: str = "all", **options: Any) -> Config:
    """A route to a pool (a name) or to a split (a dict of shares)."""
    target = {"split": to} if isinstance(to, dict) else {"pool": to}
    return {"name": name, "match": {"path": path}, **target, **options}


def config(pools: Dict[str, Config], routes: Optional[List[Config]] = None,
           **options: Any) -> Config:
    """A whole file: admin and probes, one listener "edge", and a stop without waiting."""
    if routes is None:
        routes = [route(next(iter(pools)))]
    whole = {
        "admin": {"listen": "127.0.0.1:0", "probes": "127.0.0.1:0"},
        "log": {"access": "stdout"},
        "drain": {"delay": "0s", "timeout": "10s"},
        "listeners": [listener(routes)],
        "pools": pools,
    }
    whole.update(options)
    return whole
