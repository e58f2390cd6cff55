# SPDX-License-Identifier: Apache-2.0
"""What a pool should hold, computed from what the API server lists: written from the API's
documentation, and from nothing of sluiced.

Rules of discovery.k8s.io/v1 (its types.go): `ready` unset means true; `serving` unset means what
ready says; `terminating` unset means false; consumers use the first address only; a port without a
number means all ports. A terminating endpoint that serves is used when nothing else is there, so a
proxy must know it.
"""

import collections
import ipaddress

READY, DRAINING = "ready", "draining"


def _unset(value, default):
    return default if value is None else value


def _state(conditions):
    """READY, DRAINING, or None for one that gets nothing."""
    ready = _unset(conditions.get("ready"), True)
    serving = _unset(conditions.get("serving"), ready)
    terminating = _unset(conditions.get("terminating"), False)
    if ready:
        return DRAINING if terminating else READY
    return DRAINING if serving and terminating else None


def _ports(ports, key):
    return [
        (port.get("name") or "", port[key])
        for port in ports or []
        if port.get(key) and port.get("protocol", "TCP") == "TCP"
    ]


def _port(source, ports):
    """The number that the source of a pool means."""
    wanted = source.get("port")
    if isinstance(wanted, int):
        return wanted
    if wanted is None:
        return ports[0][1] if len(ports) == 1 else None
    return next((number for name, number in ports if name == wanted), None)


def _address(text, port):
    host = ipaddress.ip_address(text)
    return f"[{host}]:{port}" if host.version == 6 else f"{host}:{port}"


def _of_slices(source, slices, pods):
    for item in slices:
        port = _port(source, _ports(item.get("ports"), "port"))
        if item["addressType"] not in ("IPv4", "IPv6") or port is None:
            continue
        for endpoint in item.get("endpoints") or []:
            target = endpoint.get("targetRef") or {}
            name, uid = "", ""
            if target.get("kind") == "Pod":
                name, uid = target.get("name", ""), target.get("uid", "")
            pod = pods.get(name)
            if "pods" in source and (not pod or (uid and uid != pod["metadata"]["uid"])):
                continue
            state = _state(endpoint.get("conditions") or {})
            yield _address(endpoint["addresses"][0], port), uid, name, state


def _of_pods(source, pods):
    for name, pod in pods.items():
        containers = list(pod["spec"]["containers"])
        ports = [p for c in containers for p in _ports(c.get("ports"), "containerPort")]
        status = pod.get("status", {})
        port = _port(source, ports)
        ready = any(
            c["type"] == "Ready" and c["status"] == "True" for c in status.get("conditions") or []
        )
        if ready and status.get("podIP") and port is not None:
            state = DRAINING if pod["metadata"].get("deletionTimestamp") else READY
            yield _address(status["podIP"], port), pod["metadata"]["uid"], name, state


def expected(source, slices, pods):
    """The endpoints of a pool, counted: (address, pod, state).

    source is the pool's `kubernetes` section; slices and pods what its selectors find. One pod at
    one address and port is one endpoint, however many slices have it; ready in one of them is
    enough.
    """
    by_name = {pod["metadata"]["name"]: pod for pod in pods}
    if "service" in source or "slices" in source:
        found = _of_slices(source, slices, by_name)
    else:
        found = _of_pods(source, by_name)
    states = {}
    for address, uid, name, state in found:
        if state and states.get((address, uid), (name, DRAINING))[1] != READY:
            states[address, uid] = (name, state)
    return collections.Counter(
        (address, name, state) for (address, _), (name, state) in states.items()
    )


def held(pool):
    """The same of a pool of /status."""
    return collections.Counter(
        (e["address"], e["pod"], DRAINING if e["draining"] else READY) for e in pool["endpoints"]
    )


def difference(wanted, found):
    """Text of what is missing and what is too much; "" when they are the same."""
    lines = [f"missing {dict(wanted - found)}"] if wanted - found else []
    lines += [f"too much {dict(found - wanted)}"] if found - wanted else []
    return ", ".join(lines)
