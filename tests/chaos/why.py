# SPDX-License-Identifier: Apache-2.0
"""Why sluiced is not the best in a row, for those in which it may not be: by case and column."""

from typing import Dict, Tuple

AVOIDED = ("It has not taken the pod out: its global least-connections passes over the pod while requests hang in it. "
           "sluiced has ejected it, and asks its probes or a trial before it gives it requests again.")
TWO = ("least_request compares two pods at random, which is as good with many proxies, where leastconn compares all: "
       "with four requests in flight the faulty one is now and then the less busy of the two.")
WAITED = "It answers those who waited in its queue; the others had failed them at once."

WHY: Dict[Tuple[str, str], str] = {
    ("kill -STOP", "back"): AVOIDED,
    ("kill -STOP", "left alone"): TWO,
    ("accept, then hang", "left alone"): TWO,
    ("head, then hang", "back"): AVOIDED,
    ("head, then hang", "left alone"): TWO,
    ("head, then hang", "failed"):
        "Each failure is a POST, which was sent and is not repeated, or a stream that ran; GETs go elsewhere. " + TWO,
    ("half a response", "back"): "It never left the pod alone, and all that it sent there failed.",
    ("slow drip", "left alone"): TWO,
    ("slow drip", "back"): "It sent requests there all the time, which its p99 shows.",
    ("one pod 10x slower", "p99"): TWO + " `balance: peak_ewma`, which goes by latency as well, is for that.",
    ("one pod 10x slower", "left alone"): TWO + " The pod is slow and not faulty: it keeps a part of the load.",
    ("all pods killed and back", "p99"): WAITED,
    ("all pods killed and back", "back"):
        "Those who wait go to the first pod that listens again, which is found within 25 ms; this is the time of one "
        "of five, and it follows by its own check, each 2 s.",
    ("200 ms delay", "p99"):
        "It is the round trips of connections that are opened: two more for each new one; kept ones end after 3 s "
        "(`keepalive_idle`), below the idle limit of uvicorn, where the others keep them for longer.",
    ("all pods gone and back", "p99"): WAITED,
    ("all pods gone and back", "back"): "A file that discovery reads is applied once it has settled.",
}
