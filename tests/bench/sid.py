# SPDX-License-Identifier: Apache-2.0
"""HAProxy and nginx as Debian sid has them, beside the Debian that runs here.

The distribution's own builds of the newest versions are what an operator would run next; those of a
stable Debian are years behind. apt does it all with lists, a cache and a state of its own (in which
nothing is installed, so that a program comes with every library down to libc), checks signatures by
the archive's keys, and nothing of it touches the machine's packages."""

import shutil
import subprocess
from pathlib import Path
from typing import Dict, List, Optional

from machine import BUILD, output

SID = BUILD / "sid"
KEYRING = Path("/usr/share/keyrings/debian-archive-keyring.gpg")
TIME_LIMIT_S = 600


def mirror() -> str:
    """Where this machine gets Debian from; empty if it does not, or has never updated its lists."""
    for line in output("apt-get", "indextargets", "--format", "$(LABEL) $(REPO_URI)",
                       "Created-By: Packages").splitlines():
        label, _, uri = line.partition(" ")
        if label == "Debian":
            return uri
    return ""


def apt(*args: str) -> bool:
    """apt-get, on its own lists, cache and state."""
    settings = {"Dir::Etc::SourceList": SID / "sources.list", "Dir::Etc::SourceParts": "/dev/null",
                "Dir::Etc::Preferences": "/dev/null", "Dir::Etc::PreferencesParts": "/dev/null",
                "Dir::State": SID, "Dir::State::Status": SID / "status", "Dir::Cache": SID / "cache",
                "Acquire::Languages": "none", "Acquire::IndexTargets::deb::DEP-11::DefaultEnabled": "false",
                "APT::Update::Error-Mode": "any", "APT::Sandbox::User": "root", "Debug::NoLocking": "true"}
    argv = ["apt-get", "-q", "-y"]
    for name, value in settings.items():
        argv += ["-o", f"{name}={value}"]
    done = subprocess.run([*argv, *args], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False,
                          timeout=TIME_LIMIT_S)
    if done.returncode != 0:
        print(f"bench: apt-get {args[0]} of sid:", done.stdout.decode("utf-8", "replace")[-2000:], flush=True)
    return done.returncode == 0


def fetch(names: List[str]) -> bool:
    """Downloads and unpacks the programs, with all that they depend on; false where it cannot be done."""
    uri = shutil.which("apt-get") and shutil.which("dpkg") and mirror()
    if not uri:
        print("bench: no Debian mirror is known here (apt-get update?)", flush=True)
        return False
    shutil.rmtree(SID, ignore_errors=True)
    for folder in ("lists/partial", "cache/archives/partial", "root"):
        (SID / folder).mkdir(parents=True)
    (SID / "status").write_text("")
    signed = f"[signed-by={KEYRING}] " if KEYRING.exists() else ""
    (SID / "sources.list").write_text(f"deb {signed}{uri} sid main\n")
    if not apt("update") or not apt("install", "--no-install-recommends", "--download-only", *names):
        return False
    for package in sorted((SID / "cache" / "archives").glob("*.deb")):
        subprocess.run(["dpkg", "-x", str(package), str(SID / "root")], check=True)
    return True


def program(name: str) -> Optional[List[str]]:
    """How it is run: by sid's own loader, because the machine's libc is older than what it was built for."""
    usr = SID / "root" / "usr"
    loaders = sorted(usr.glob("lib/*/ld-linux*.so.*"))
    path = usr / "sbin" / name
    if not loaders or not path.exists():
        return None
    return [str(loaders[0]), "--library-path", str(loaders[0].parent), str(path)]


def programs(names: List[str]) -> Dict[str, List[str]]:
    """Those that can be had; what an earlier session fetched is used again."""
    if names and not all(program(name) for name in names):
        if not fetch(names):
            shutil.rmtree(SID, ignore_errors=True)
    found = {}
    for name in names:
        argv = program(name)
        if argv:
            found[name] = argv
    return found
