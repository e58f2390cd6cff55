# SPDX-License-Identifier: Apache-2.0
"""What goes wrong, and what is measured of a proxy meanwhile."""

import collections
import dataclasses
import time
from typing import Callable, Dict, List, NamedTuple, Optional

from pods import Pods
from proxies import Proxy
from traffic import Traffic, Watch

from lib.wait import wait_until

ALONE_S = 0.5  # a pod that was picked 40 times a second, and now for so long not at all
STORM_N = 500


class Scene(NamedTuple):
    """Who is there."""

    pods: Pods
    proxy: Proxy
    traffic: Traffic


class Lengths(NamedTuple):
    """How long each part of a case lasts (s); it ends once the pod is back, but not before `least`."""

    before: float
    fault: float
    least: float
    most: float


LONG = Lengths(before=1.0, fault=6.0, least=1.0, most=6.0)
SHORT = Lengths(before=0.5, fault=2.5, least=0.5, most=10.0)


class Case(NamedTuple):
    """begin and end of a fault. One pod of five is faulty, or (`of_all`) all are alike; pods may not be away at
    all (`away`)."""

    name: str
    begin: Callable[[Scene], None]
    end: Callable[[Scene], None]
    of_all: bool = False
    away: bool = True
    fault_s: Optional[float] = None  # where it must be so long and no longer


def mode(name: str) -> Dict[str, Callable[[Scene], None]]:
    """The first pod behaves so."""
    return {"begin": lambda scene: scene.pods[0].set_mode(name),
            "end": lambda scene: scene.pods[0].set_mode("normal")}


def link(**impaired: int) -> Dict[str, Callable[[Scene], None]]:
    """The way to and from all pods."""
    def begin(scene: Scene) -> None:
        scene.pods.network.impair([pod.ip for pod in scene.pods], **impaired)

    def end(scene: Scene) -> None:
        scene.pods.network.impair([pod.ip for pod in scene.pods])
    return {"begin": begin, "end": end}


def all_gone(scene: Scene) -> None:
    """In order: named no more, and once that is known, told to end."""
    scene.proxy.name_pods([])
    wait_until(lambda: scene.proxy.named_n() == 0, 5, "the proxy to know", scene.proxy.log)
    scene.pods.terminate()


def all_back(scene: Scene) -> None:
    """Begun, then named."""
    scene.pods.start()
    scene.proxy.name_pods([pod.address for pod in scene.pods])


def storm(scene: Scene) -> None:
    """Beside the load that runs."""
    scene.traffic.storm(STORM_N)


CASES: List[Case] = [
    Case("kill -9", begin=lambda scene: scene.pods[0].kill(), end=lambda scene: scene.pods.start()),
    Case("kill -STOP", begin=lambda scene: scene.pods[0].pause(), end=lambda scene: scene.pods[0].resume()),
    Case("RST on connect", **mode("rst")),
    Case("accept, then hang", **mode("hang")),
    Case("head, then hang", **mode("head_hang")),
    Case("half a response", **mode("half")),
    Case("5 % loss", **link(loss_pct=5), of_all=True, away=False),
    Case("200 ms delay", **link(delay_ms=100), of_all=True, away=False),
    Case("slow drip", **mode("drip")),
    Case(f"storms of {STORM_N}", begin=storm, end=storm, of_all=True, away=False, fault_s=1.0),
    Case("one pod 10x slower", **mode("slow")),
    Case("all pods killed and back", begin=lambda scene: scene.pods.kill(), end=lambda scene: scene.pods.start(),
         of_all=True, fault_s=2.0),
    Case("all pods gone and back", begin=all_gone, end=all_back, of_all=True, fault_s=2.0),
]


@dataclasses.dataclass
class Result:
    """What came of it. Times in seconds from the begin of the fault, or from its end; None: it did not
    happen, or there was nothing to happen."""

    sent: Dict[str, int]
    failures: Dict[str, collections.Counter]  # by kind of request
    retried: int
    p50_ms: float
    p99_ms: float
    eject_s: Optional[float]
    later_n: int  # picks of the faulty pod after that, while the fault lasted
    return_s: Optional[float]

    def failed(self, *kinds: str) -> int:
        """Requests of these kinds; of all if none is named."""
        return sum(sum(self.failures[kind].values()) for kind in kinds or self.failures)

    def answered(self) -> int:
        """Requests of all kinds."""
        return sum(self.sent.values()) - self.failed()


def ejected(samples: List[tuple], began: float) -> tuple:
    """When a pod was left alone (s from the begin; None: never), and how often it was picked after that. samples:
    from before the begin until the end."""
    last_at, last_n = began, max(n for at, n in samples if at <= began)
    for at, n in samples:
        if n > last_n:
            last_at, last_n = at, n
        elif at - last_at >= ALONE_S:
            return last_at - began, samples[-1][1] - n
    return None, 0


def quantile_ms(took_s: List[float], share: float) -> float:
    """Of requests that were answered."""
    ordered = sorted(took_s)
    return 1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))] if ordered else float("nan")


def run(case: Case, pods: Pods, proxy: Proxy, lengths: Lengths) -> Result:
    """One case with one proxy, which is started for it and ended."""
    pods.reset()
    proxy.start()
    traffic = Traffic(proxy.address).start()
    watch = Watch(proxy.picks)
    scene = Scene(pods, proxy, traffic)
    pod = pods[0]
    try:
        time.sleep(lengths.before)  # the length of a part is what is asked for: nothing is awaited
        began = time.monotonic()
        case.begin(scene)
        time.sleep(case.fault_s or lengths.fault)
        over = time.monotonic()
        case.end(scene)
        ended = time.monotonic()
        time.sleep(lengths.least)
        back = until_back(traffic, pod.ip, ended, lengths.most - lengths.least) if case.away else None
        records = traffic.stop()
        retried = proxy.retries()
    finally:
        traffic.stop()
        watch.stop()
        proxy.stop()
    left_s, later_n = None, 0
    if not case.of_all:
        left_s, later_n = ejected(watch.of(pod.address, began - lengths.before, over), began)
    sent = collections.Counter(record.kind for record in records)
    failures = {kind: collections.Counter(r.failure for r in records if r.kind == kind and r.failure)
                for kind in ("GET", "POST", "stream")}
    took = [r.ended - r.due for r in records if r.kind != "stream" and not r.failure]
    return Result(sent, failures, retried, quantile_ms(took, 0.5), quantile_ms(took, 0.99), left_s, later_n, back)


def until_back(traffic: Traffic, ip: str, since: float, most_s: float) -> Optional[float]:
    """How long after a time a pod has answered again (s); None: not within most_s from now."""
    try:
        at = wait_until(lambda: traffic.served_since(ip, since), max(0.0, most_s), f"{ip} to be back")
    except AssertionError:
        return None
    return at - since
