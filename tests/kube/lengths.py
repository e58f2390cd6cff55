# SPDX-License-Identifier: Apache-2.0
"""How long the tests with a short and a long form are: KUBE_LONG=1 asks for the long one, as `make
soak` does. Each figure can be set by itself too.
"""

import os

LONG = bool(os.environ.get("KUBE_LONG"))


def _length(name, short, long):
    return float(os.environ.get(name) or (long if LONG else short))


RUNS = int(_length("KUBE_RUNS", 30, 1000))  # of random sequences of events
SEED = int(_length("KUBE_SEED", 1, 1))  # of the first of them
CUT_S = _length("KUBE_CUT_SECONDS", 60, 600)  # the longest outage
PODS = int(_length("KUBE_PODS", 5, 20))  # replaced one after the other
MANY = int(_length("KUBE_MANY", 12, 50))  # scaled to, from 2
FLIPS = int(_length("KUBE_FLIPS", 10, 50))
CHURN_S = _length("KUBE_CHURN_SECONDS", 10, 60)
ENDPOINTS = int(_length("KUBE_ENDPOINTS", 10000, 10000))
CHANGES = int(_length("KUBE_CHANGES", 1000, 1000))  # a second
SIDECARS = int(_length("KUBE_SIDECARS", 50, 50))
