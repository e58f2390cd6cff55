# SPDX-License-Identifier: Apache-2.0
"""What the compiler does not check: layers, where a library may be included, banned calls, headers that
stand alone, and the look of the text. Run by `make lint` from the top of the tree; its own tests are in
tests/lint. Each rule yields (path, line, message)."""

import concurrent.futures
import os
import pathlib
import re
import shlex
import subprocess
import sys
import textwrap

FORMAT_VERSION = "19.1.7"
C_ROOTS = ("proxy", "discovery", "config", "include", "tests")
PRODUCT = ("proxy/", "discovery/", "config/", "include/")
TEXT_ROOTS = C_ROOTS + (".ci", "deploy", "docs")
TEXT_SUFFIXES = (".c", ".h", ".py", ".sh", ".go", ".md", ".yaml", ".yml")
# Bytes of peers, results of runs: not text of ours.
LEAVE_OUT = ("tests/vectors/", "tests/fuzz/corpus/", "tests/kube/captures/")

# A file includes its own folder, include/sluiced/ and lower ranks. A folder that is missing here is an error.
RANKS = {
    "proxy/base": 0,
    "proxy/io": 1,
    "proxy/proto": 2,
    "proxy/upstream": 3,
    "proxy/inference": 3,
    "proxy/balance": 4,
    "proxy/rollout": 4,
    "discovery": 4,
    "config": 4,
    "proxy/l4": 5,
    "proxy/l7": 5,
    "proxy/admin": 5,
    "proxy/run": 6,
}

# header -> the only files that may include it
LIBRARIES = {
    r"ev\.h": r"proxy/io/loop[^/]*",
    r"openssl/.*": r"proxy/io/tls[^/]*",
    r"curl/.*": r"proxy/io/fetch[^/]*",
    r"nghttp2/.*": r"proxy/proto/h2[^/]*",
    r"ares.*\.h": r"proxy/io/resolver[^/]*",
    r"yaml\.h": r"proxy/base/yaml[^/]*",
    r"jansson\.h": r"(config|discovery|proxy/admin)/.*",
    r"xxh.*\.h": r"proxy/(base|inference|balance)/.*",
    r"(setjmp|assert|cmocka)\.h": r"(?!)",
}

# call -> the only files of the product that may make it
BANNED = {
    r"strcpy|strcat|v?sprintf|strncpy|strncat|strtok\w*|ato[a-z]+|v?sscanf|gets": None,
    r"gmtime|localtime|strerror|s?rand|random|system|popen|signal|u?sleep|assert": None,
    r"strto[a-z]+": r"proxy/base/num\.c",
    r"getaddrinfo": r"proxy/io/resolver[^/]*\.c",
    r"malloc|calloc|realloc|reallocarray|free|strn?dup|v?asprintf": r"proxy/base/alloc\.c",
}
BANNED_IN_UNIT_TESTS = r"u?sleep|nanosleep|system|popen"


def walk(roots, suffixes):
    found = []
    for root in roots:
        for path in sorted(pathlib.Path(root).rglob("*")):
            name = path.as_posix()
            if path.is_file() and path.suffix in suffixes and not name.startswith(LEAVE_OUT):
                if "__pycache__" not in path.parts:
                    found.append(name)
    return found


def read(path):
    return pathlib.Path(path).read_text(encoding="utf-8", errors="replace")


def code_only(text):
    """The text with comments and literals blanked, line numbers kept."""
    pattern = r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\''

    def blank(match):
        return re.sub(r"[^\n]", " ", match.group())

    return re.sub(pattern, blank, text, flags=re.S)


def line_of(text, offset):
    return text.count("\n", 0, offset) + 1


def includes(path):
    """(line, opening mark, what) of each #include."""
    for n, line in enumerate(read(path).split("\n"), 1):
        match = re.match(r'\s*#\s*include\s*([<"])([^>"]+)[>"]', line)
        if match:
            yield n, match.group(1), match.group(2)


def layer(path):
    """The folder that has a rank: proxy/x, or discovery and config with all below them."""
    parts = path.split("/")
    return "/".join(parts[:2]) if parts[0] == "proxy" else parts[0]


def rule_layers(files):
    for path in files:
        if not path.startswith(PRODUCT):
            continue
        own = layer(path)
        if own != "include" and own not in RANKS:
            yield path, 1, f"{own}/ has no rank; give it one in .ci/lint/lint.py"
            continue
        for n, mark, what in includes(path):
            if mark == "<":
                continue
            target = what
            if "/" not in what:
                target = os.path.dirname(path) + "/" + what
            if ".." in what.split("/"):
                yield path, n, f'"{what}" leaves its folder; name it from the top of the tree'
            elif own == "include":
                yield path, n, f'"{what}": a contract includes <sluiced/...> and the platform only'
            elif layer(target) not in RANKS:
                yield path, n, f'"{what}" is in no layer'
            elif layer(target) != own and RANKS[layer(target)] >= RANKS[own]:
                yield path, n, f'"{what}": {own} has rank {RANKS[own]}, {layer(target)} {RANKS[layer(target)]}'


def rule_own_header_first(files):
    for path in files:
        header = path[:-2] + ".h"
        if path.startswith(PRODUCT) and path.endswith(".c") and header in files:
            first = next(includes(path), (1, "", "nothing"))
            if os.path.basename(header) != os.path.basename(first[2]):
                yield path, first[0], f"includes {first[2]} before its own header"


def rule_libraries(files):
    for path in files:
        if not path.startswith(PRODUCT):
            continue
        for n, _, what in includes(path):
            for header, home in LIBRARIES.items():
                if re.fullmatch(header, what) and not re.fullmatch(home, path):
                    yield path, n, f"<{what}> may not be included here"


def rule_banned(files):
    for path in files:
        if path.startswith(PRODUCT):
            table = BANNED
        elif path.startswith("tests/unit/"):
            table = {BANNED_IN_UNIT_TESTS: None}
        else:
            continue
        text = code_only(read(path))
        for names, home in table.items():
            if home and re.fullmatch(home, path):
                continue
            for match in re.finditer(rf"(?<![\w.>])({names})\s*\(", text):
                yield path, line_of(text, match.start()), f"{match.group(1)}() is banned"


def rule_headers_alone(files):
    cc = shlex.split(os.environ.get("CC") or "cc")
    flags = ["-std=c11", "-D_GNU_SOURCE", "-I.", "-Iinclude", "-fsyntax-only", "-Werror", "-x", "c"]

    def compile_alone(path):
        return path, subprocess.run(cc + flags + [path], capture_output=True, text=True)

    headers = [f for f in files if f.endswith(".h")]
    with concurrent.futures.ThreadPoolExecutor(os.cpu_count()) as pool:
        for path, done in pool.map(compile_alone, headers):
            if done.returncode != 0:
                yield path, 1, "does not compile alone:\n" + textwrap.indent(done.stderr.rstrip(), "    ")


def rule_text(files):
    for path in files:
        text = read(path)
        if not re.match(r"/\* SPDX-License-Identifier: Apache-2\.0 \*/\n", text):
            yield path, 1, "the first line is not /* SPDX-License-Identifier: Apache-2.0 */"
        if not text.endswith("\n"):
            yield path, line_of(text, len(text)), "no newline at the end"
        for n, line in enumerate(text.split("\n"), 1):
            if not line.isascii():
                yield path, n, "not ASCII"
            if line != line.rstrip():
                yield path, n, "space at the end of the line"


def rule_unfinished(_files):
    for path in walk(TEXT_ROOTS, TEXT_SUFFIXES):
        if path.startswith((".ci/lint/", "tests/lint/")):  # this rule and its test name the words
            continue
        for n, line in enumerate(read(path).split("\n"), 1):
            if re.search(r"\b(TODO|FIXME|XXX)\b(?!\(#\d+\))", line):
                yield path, n, "unfinished, and no issue number: write TODO(#12)"


def rule_format(files):
    tool = os.environ.get("CLANG_FORMAT") or "build/venv/bin/clang-format"
    try:
        version = subprocess.run([tool, "--version"], capture_output=True, text=True).stdout
    except OSError:
        version = ""
    if f"version {FORMAT_VERSION}" not in version:
        yield tool, 1, f"clang-format {FORMAT_VERSION} is needed (`make deps`), found {version.strip() or 'none'}"
        return
    done = subprocess.run([tool, "--dry-run", "-Werror"] + files, capture_output=True, text=True)
    seen = set()
    for path, line in re.findall(r"^([^\s:]+):(\d+):\d+: error:", done.stderr, flags=re.M):
        if path not in seen:
            seen.add(path)
            yield path, int(line), "not formatted, first here (`make format`)"
    if done.returncode != 0 and not seen:
        yield tool, 1, done.stderr.strip()


def main():
    rules = [value for name, value in globals().items() if name.startswith("rule_")]
    files = walk(C_ROOTS, (".c", ".h"))
    if not files:
        print("lint: no C file found: run from the top of the tree")
        return 1
    findings = 0
    for rule in rules:
        for path, line, message in rule(files):
            print(f"{path}:{line}: {rule.__name__[5:]}: {message}")
            findings += 1
    print(f"lint: {len(rules)} rules over {len(files)} C files, {findings} findings")
    return 1 if findings else 0


if __name__ == "__main__":
    sys.exit(main())
