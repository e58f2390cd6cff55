# SPDX-License-Identifier: Apache-2.0
"""A network namespace for the test process and all it starts, in which every pod address is local.

The API server refuses loopback addresses as endpoints, so model servers need others. In a namespace
of our own one route makes all of PODS bindable by anyone, and nothing outside sees it. Works as
root and, where the kernel allows user namespaces, as anybody.
"""

import ctypes
import errno
import os
import socket
import subprocess

PODS = "10.244.0.0/16"
CLONE_NEWUSER = 0x10000000
CLONE_NEWNET = 0x40000000


def inside():
    """True when pod addresses are local already: the caller has made such a namespace, or enter()
    has.
    """
    with socket.socket() as probe:
        try:
            probe.bind(("10.244.255.254", 0))
        except OSError as error:
            if error.errno == errno.EADDRNOTAVAIL:
                return False
            raise
    return True


def unshare(flags):
    """unshare(2), which Python has from 3.12 on only."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(flags) != 0:
        number = ctypes.get_errno()
        hint = "needs root, or user namespaces for everybody (max_user_namespaces, AppArmor)"
        raise OSError(number, f"network namespace: {os.strerror(number)}; {hint}")


def isolate():
    """Moves this process into a network namespace of its own, in which there is loopback and nothing
    else. There must be no other thread yet.
    """
    uid, gid = os.getuid(), os.getgid()
    if uid == 0:
        unshare(CLONE_NEWNET)
    else:
        unshare(CLONE_NEWUSER | CLONE_NEWNET)
        for name, text in (
            ("setgroups", "deny"),
            ("uid_map", f"0 {uid} 1"),
            ("gid_map", f"0 {gid} 1"),
        ):
            with open(f"/proc/self/{name}", "w", encoding="ascii") as file:
                file.write(text)
    subprocess.run("ip link set lo up".split(), check=True)


def enter():
    """As isolate(), with all of PODS local, unless that is so already: see inside()."""
    if inside():
        return
    isolate()
    subprocess.run(f"ip route add local {PODS} dev lo".split(), check=True)
