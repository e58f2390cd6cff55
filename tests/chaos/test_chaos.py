# SPDX-License-Identifier: Apache-2.0
"""The short form of the chaos suite: what a fault must not cost, and whether its pod is left alone and used
again. How long that takes is for the long form (`make chaos`) to say.

Where something may be lost it is by nature: a POST that was sent is not repeated, and an answer of which a
part was delivered cannot be."""

from pathlib import Path
from typing import Callable, Dict, Iterator, NamedTuple

import pytest

import cases
from cases import Result
from network import Network
from pods import Pod, Pods
from proxies import Sluiced
from traffic import RATE, STREAMS, Traffic

from lib.wait import wait_until

CASES = {case.name: case for case in cases.CASES}
NOTHING: Dict[str, str] = {}
RUNNING = {"stream": "cut 502 504"}  # streams that the pod had begun, or got as a POST
ONE_POD_FAULTY_N = RATE * cases.SHORT.fault / 5  # requests that it would get if nobody noticed


class Costs(NamedTuple):
    """What may fail, by kind, and in which way; and whether a pod has to be left alone."""

    allowed: Dict[str, str]
    ejects: bool = True


COSTS = {
    "kill -9": Costs({**RUNNING, "POST": "502"}),
    "kill -STOP": Costs({**RUNNING, "POST": "504"}),
    "RST on connect": Costs({**RUNNING, "POST": "502"}),
    "accept, then hang": Costs({**RUNNING, "POST": "504 502"}),
    "head, then hang": Costs({**RUNNING, "POST": "504 502"}),
    "half a response": Costs({**RUNNING, "GET": "cut", "POST": "cut"}),
    "5 % loss": Costs(NOTHING, ejects=False),
    "200 ms delay": Costs(NOTHING, ejects=False),
    "slow drip": Costs(NOTHING, ejects=False),
    f"storms of {cases.STORM_N}": Costs(NOTHING, ejects=False),
    "one pod 10x slower": Costs(NOTHING, ejects=False),
    "all pods gone and back": Costs(NOTHING, ejects=False),
}


@pytest.fixture(name="pods", scope="module")
def fixture_pods(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pods]:
    """Five, behind a link."""
    network = Network(tmp_path_factory.mktemp("chaos"))
    crew = Pods(network)
    try:
        yield crew
    finally:
        crew.kill()
        network.stop()


@pytest.fixture(name="through")
def fixture_through(pods: Pods, tmp_path: Path) -> Callable[[str], Result]:
    """Runs a case of a name."""
    def run(name: str) -> Result:
        proxy = Sluiced([], tmp_path, [pod.address for pod in pods])
        result = cases.run(CASES[name], pods, proxy, cases.SHORT)
        print(name, result)
        return result
    return run


@pytest.mark.parametrize("name", COSTS)
def test_a_fault_costs_what_it_must_and_no_more(through, name):
    costs = COSTS[name]
    result = through(name)
    for kind, failures in result.failures.items():
        ways = costs.allowed.get(kind, "").split()
        assert set(failures) <= set(ways), f"{kind}: {failures}, allowed: {ways}"
    assert result.failed("stream") <= STREAMS
    assert result.failed("GET", "POST") < ONE_POD_FAULTY_N / 2
    assert result.sent["GET"] > 0 and result.sent["POST"] > 0 and result.sent["stream"] > 0
    if costs.ejects:
        assert result.eject_s is not None and result.later_n < ONE_POD_FAULTY_N / 2
    assert result.return_s is not None or not CASES[name].away


def test_all_pods_killed_costs_what_ran_there(through):
    """Named still; who comes meanwhile waits. A GET that ran at two of them, one after the other, is lost."""
    result = through("all pods killed and back")
    assert set(result.failures["GET"]) | set(result.failures["POST"]) <= {"502"}, result.failures
    assert result.failed("GET") <= 2 and result.failed("POST") < ONE_POD_FAULTY_N / 2
    assert result.failed("stream") <= STREAMS
    assert result.return_s is not None


def slow_n(pod: Pod) -> int:
    """Of twenty requests, sent to a pod itself, so many took as long as a lost packet or a late one makes them."""
    traffic = Traffic(pod.address, rate=20, streams=0).start()
    wait_until(lambda: len(traffic.records) >= 20, 60, "twenty requests")
    records = traffic.stop()
    return sum(record.ended - record.due > 0.19 for record in records)


def test_the_link_does_lose_and_delay(pods):
    """Or the cases that rely on it would show nothing."""
    pods.reset()
    pods.network.impair([pods[0].ip], delay_ms=100)
    assert slow_n(pods[0]) >= 20
    pods.network.impair([pods[0].ip], loss_pct=40)  # TCP mends most of it within a round trip
    assert slow_n(pods[0]) >= 3
