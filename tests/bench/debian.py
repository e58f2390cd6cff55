# SPDX-License-Identifier: Apache-2.0
"""HAProxy and nginx as a suite of Debian has them, whatever Debian runs here.

The distribution's own builds of the newest versions are what an operator would run next; those of a
stable Debian are years behind. apt does it all with lists, a cache and a state of its own (in which
nothing is installed, so that a program comes with every library down to libc), checks signatures by
the archive's keys, and nothing of it touches the machine's packages or starts a service."""

import os
import platform
import shutil
import subprocess
from pathlib import Path
from typing import Dict, List, Optional

from machine import BUILD, output

NEWEST = "sid"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
TIME_LIMIT_S = 600


def stable() -> str:
    """The suite that runs here; empty where it is no Debian."""
    try:
        system = platform.freedesktop_os_release()
    except OSError:
        return ""
    return system.get("VERSION_CODENAME", "") if system.get("ID") == "debian" else ""


def mirror() -> str:
    """Where this machine gets Debian from; empty if it does not."""
    # Without lists apt does not know what is Debian's: they are missing in a new container.
    for before in ([], ["apt-get", "update", "-q"]):
        if before and os.geteuid() == 0:
            output(*before)
        for line in output("apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)",
                           "Created-By: Packages").splitlines():
            label, _, uri = line.partition(" ")
            if label == "Debian":
                return uri
    return ""


def apt(home: Path, *args: str) -> bool:
    """apt-get, on lists, cache and state of its own."""
    settings = {"Dir::Etc::SourceList": home / "sources.list", "Dir::Etc::SourceParts": "/dev/null",
                "Dir::Etc::Preferences": "/dev/null", "Dir::Etc::PreferencesParts": "/dev/null",
                "Dir::State": home, "Dir::State::Status": home / "status", "Dir::Cache": home / "cache",
                "Acquire::Languages": "none", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
                "APT::Update::Error-Mode": "any", "APT::Sandbox::User": "root", "Debug::NoLocking": "true"}
    argv = ["apt-get", "-q", "-y"]
    for name, value in settings.items():
        argv += ["-o", f"{name}={value}"]
    done = subprocess.run([*argv, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                          timeout=TIME_LIMIT_S)
    if done.returncode != 0:
        print(f"bench: apt-get {args[0]} of {home.name}:", done.stdout.decode("utf-8", "replace")[-2000:],
              flush=True)
    return done.returncode == 0


def fetch(home: Path, names: List[str]) -> bool:
    """Downloads and unpacks the programs, with all that they depend on; false where it cannot be done."""
    uri = mirror()
    if not uri:
        print("bench: no Debian mirror is known here", flush=True)
        return False
    shutil.rmtree(home, ignore_errors=True)
    for folder in ("lists/partial", "cache/archives/partial", "root"):
        (home / folder).mkdir(parents=True)
    (home / "status").write_text("")
    signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    (home / "sources.list").write_text(f"deb {signed}{uri} {home.name} main\n")
    if not apt(home, "update") or not apt(home, "install", "--no-install-recommends", "--download-only", *names):
        return False
    for package in sorted((home / "cache" / "archives").glob("*.deb")):
        subprocess.run(["dpkg", "-x", str(package), str(home / "root")], check=True)
    return True


def program(home: Path, name: str) -> Optional[List[str]]:
    """How it is run: by its own suite's loader, because the machine's libc may be older than it needs."""
    root = home / "root"
    loaders = sorted([*root.glob("usr/lib/*/ld-linux*.so.*"), *root.glob("lib/*/ld-linux*.so.*")])
    path = root / "usr" / "sbin" / name
    if not loaders or not path.exists():
        return None
    folders = {str(loaders[0].parent), str(root / "usr" / "lib" / loaders[0].parent.name)}
    return [str(loaders[0]), "--library-path", ":".join(sorted(folders)), str(path)]


def programs(suite: str, names: List[str]) -> Dict[str, List[str]]:
    """Those that can be had from a suite; what an earlier session fetched is used again."""
    home = BUILD / suite
    if not suite or not names or not shutil.which("apt-get") or not shutil.which("dpkg"):
        return {}
    if not all(program(home, name) for name in names) and not fetch(home, names):
        shutil.rmtree(home, ignore_errors=True)
    found = {name: program(home, name) for name in names}
    return {name: argv for name, argv in found.items() if argv}
