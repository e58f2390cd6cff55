# SPDX-License-Identifier: Apache-2.0
"""Certificates that change while they are used, and when each may have been seen."""

import math
import os
from pathlib import Path
from typing import Dict, List, NamedTuple, Sequence

from cryptography import x509

from lib.ca import Cert


def serial_of(cert: Cert) -> str:
    """Serial number as ssl.getpeercert() writes it."""
    number = x509.load_pem_x509_certificate(Path(cert.cert).read_bytes()).serial_number
    text = f"{number:X}"
    return "0" * (len(text) % 2) + text


class Turn(NamedTuple):
    """One time of being current: from when it was installed until the next was in force."""

    serial: str
    begun: float
    ended: float


class Timeline:
    """Which certificate was current when. Written by one thread, read by others."""

    def __init__(self) -> None:
        self._turns: Dict[str, List[Turn]] = {}
        self._now = ""

    def install(self, serial: str, at: float) -> None:
        """From now on it may be seen; the one before may be, too, until settle()."""
        if serial != self._now:
            self._turns.setdefault(serial, []).append(Turn(serial, at, math.inf))

    def settle(self, serial: str, at: float) -> None:
        """It is in force: none but it may be seen by whom begins now."""
        if serial != self._now and self._now:
            turns = self._turns[self._now]
            turns[-1] = turns[-1]._replace(ended=at)
        self._now = serial

    def was_current(self, serial: str, begun: float, ended: float) -> bool:
        """Whether it was at some moment of a time span. Only the last turns are looked at."""
        return any(turn.begun <= ended and turn.ended >= begun
                   for turn in self._turns.get(serial, [])[-3:])


class Volume:
    """A directory with tls.crt and tls.key that the kubelet mounts: all files of it change at once,
    by the rename of one link."""

    def __init__(self, directory: Path, certs: Sequence[Cert]) -> None:
        self.directory = directory
        directory.mkdir()
        for number, cert in enumerate(certs):
            one = directory / f"..{number}"
            one.mkdir()
            (one / "tls.crt").write_bytes(Path(cert.cert).read_bytes())
            (one / "tls.key").write_bytes(Path(cert.key).read_bytes())
        for name in ("tls.crt", "tls.key"):
            (directory / name).symlink_to(f"..data/{name}")

    def publish(self, number: int) -> None:
        """Shows the certificate of this number from now on."""
        fresh = self.directory / "..fresh"
        fresh.symlink_to(f"..{number}")
        os.replace(fresh, self.directory / "..data")
