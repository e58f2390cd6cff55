# SPDX-License-Identifier: Apache-2.0
"""Each rule of .ci/lint/lint.py fires on a small tree made to break it, and only that rule."""

import os
import pathlib
import re
import subprocess
import sys

import pytest

TOP = pathlib.Path(__file__).resolve().parents[2]
SPDX = "/* SPDX-License-Identifier: Apache-2.0 */\n"
GUARDED = SPDX + "#ifndef SL_X_H\n#define SL_X_H\n%s#endif\n"


def lint(tree, files, **env):
    for name, text in files.items():
        path = tree / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    (tree / ".clang-format").write_text((TOP / ".clang-format").read_text())
    formatter = pathlib.Path(sys.executable).parent / "clang-format"
    done = subprocess.run(
        [sys.executable, TOP / ".ci/lint/lint.py"],
        cwd=tree,
        env={**os.environ, "CC": "gcc", "CLANG_FORMAT": str(formatter), **env},
        capture_output=True,
        text=True,
    )
    assert done.stderr == ""
    return done.returncode, done.stdout


def test_a_clean_tree_passes(tmp_path):
    rc, out = lint(
        tmp_path,
        {
            "include/sluiced/defs.h": GUARDED % "",
            "proxy/base/num.h": GUARDED % "long sl_num(const char *text);\n",
            "proxy/base/num.c": SPDX
            + '#include "num.h"\n\n#include <stdlib.h>\n\n'
            + "long sl_num(const char *text)\n{\n    return strtol(text, NULL, 10);\n}\n",
            "proxy/io/loop.c": SPDX + '#include <sluiced/defs.h>\n\n#include "proxy/base/num.h"\n\n#include <ev.h>\n',
            "proxy/base/yaml.h": GUARDED % "",
            "proxy/base/yaml.c": SPDX + '#include "yaml.h"\n\n#include <yaml.h>\n',
            "config/b.c": SPDX + '#include "proxy/base/yaml.h"\n',
            "config/a.c": SPDX + "/* free() in a comment, TODO(#12) */\nconst char *sl_a = \"malloc(1)\";\n",
            "discovery/kubernetes/a.c": SPDX + '#include "discovery/b.h"\n',
            "discovery/b.h": GUARDED % "",
        },
    )
    assert (rc, out.count("\n")) == (0, 1), out
    assert "0 findings" in out


def test_an_empty_tree_is_no_success(tmp_path):
    rc, out = lint(tmp_path, {})
    assert rc == 1
    assert "no C file" in out


BROKEN = [
    # rule, file, text after the SPDX line, what the message has
    ("layers", "proxy/base/a.c", '#include "proxy/io/loop.h"\n', "proxy/base has rank 0, proxy/io 1"),
    ("layers", "proxy/l4/a.c", '#include "proxy/l7/exchange.h"\n', "rank 5"),
    ("layers", "discovery/kubernetes/a.c", '#include "config/a.h"\n', "rank 4"),
    ("layers", "proxy/io/a.c", '#include "../base/a.h"\n', "leaves its folder"),
    ("layers", "proxy/io/a.c", '#include "tests/unit/check.h"\n', "in no layer"),
    ("layers", "proxy/misc/a.c", "", "has no rank"),
    ("layers", "proxy/main.c", "", "has no rank"),
    ("libraries", "proxy/run/a.c", "#include <ev.h>\n", "<ev.h>"),
    ("libraries", "proxy/io/socket.c", "#include <openssl/ssl.h>\n", "<openssl/ssl.h>"),
    ("libraries", "discovery/a.c", "#include <curl/curl.h>\n", "<curl/curl.h>"),
    ("libraries", "proxy/inference/a.c", "#include <jansson.h>\n", "<jansson.h>"),
    ("libraries", "config/reader.c", "#include <yaml.h>\n", "<yaml.h>"),
    ("libraries", "discovery/kubernetes/a.c", "#include <yaml.h>\n", "<yaml.h>"),
    ("libraries", "proxy/base/num.c", "#include <yaml.h>\n", "<yaml.h>"),
    ("banned", "proxy/base/a.c", "void *sl_a(void)\n{\n    return malloc(1);\n}\n", "malloc()"),
    ("banned", "proxy/base/a.c", "int sl_a(const char *p)\n{\n    return atoi(p);\n}\n", "atoi()"),
    ("banned", "proxy/io/a.c", "void sl_a(char *p)\n{\n    (void)sprintf(p, 0);\n}\n", "sprintf()"),
    ("banned", "config/a.c", "long sl_a(char *p)\n{\n    return strtol(p, 0, 10);\n}\n", "strtol()"),
    ("banned", "proxy/io/a.c", "int sl_a(void)\n{\n    return getaddrinfo(0, 0, 0, 0);\n}\n", "getaddrinfo()"),
    ("banned", "tests/unit/test_a.c", "void a(void)\n{\n    usleep(1);\n}\n", "usleep()"),
    ("headers_alone", "proxy/base/a.h", "size_t sl_a(void);\n", "size_t"),
    ("text", "proxy/base/a.c", "/* caf\u00e9 */\n", "not ASCII"),
    ("text", "proxy/base/a.h", "/*\n * a \n */\n", "space at the end"),
    ("unfinished", "proxy/base/a.c", "/* TODO: later */\n", "no issue number"),
    ("unfinished", "proxy/base/a.c", "/* FIXME */\n", "no issue number"),
    ("format", "proxy/base/a.c", "int  sl_a;\n", "not formatted"),
]


@pytest.mark.parametrize("rule, path, text, has", BROKEN)
def test_a_rule_fires(tmp_path, rule, path, text, has):
    rc, out = lint(tmp_path, {path: SPDX + text})
    assert rc == 1, out
    assert re.search(rf"^{re.escape(path)}:\d+: {rule}: .*{re.escape(has)}", out, flags=re.M | re.S), out
    named = set(re.findall(r"^\S+:\d+: (\w+): ", out, flags=re.M)) - {"format"}
    assert named <= {rule}, out


def test_a_contract_includes_no_layer(tmp_path):
    rc, out = lint(tmp_path, {"include/sluiced/a.h": SPDX + '#include "proxy/base/a.h"\n', "proxy/base/a.h": GUARDED % ""})
    assert rc == 1
    assert "include/sluiced/a.h:2: layers: " in out


def test_the_own_header_comes_first(tmp_path):
    rc, out = lint(tmp_path, {"proxy/base/a.h": GUARDED % "", "proxy/base/a.c": SPDX + '#include <stddef.h>\n\n#include "a.h"\n'})
    assert rc == 1
    assert "proxy/base/a.c:2: own_header_first: includes stddef.h" in out


def test_the_licence_line_is_the_first(tmp_path):
    rc, out = lint(tmp_path, {"proxy/base/a.c": "\n" + SPDX})
    assert rc == 1
    assert "proxy/base/a.c:1: text: the first line" in out


def test_a_file_ends_with_a_newline(tmp_path):
    rc, out = lint(tmp_path, {"proxy/base/a.c": SPDX + "int sl_a;"})
    assert rc == 1
    assert "no newline at the end" in out


def test_another_clang_format_is_not_taken_for_ours(tmp_path):
    rc, out = lint(tmp_path, {"proxy/base/a.c": SPDX}, CLANG_FORMAT="/bin/true")
    assert rc == 1
    assert "clang-format 19.1.7 is needed" in out
