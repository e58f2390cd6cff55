# SPDX-License-Identifier: Apache-2.0
"""Every file of bad_config/ is refused with exactly the error that its first line expects.

    # expect: LINE:COL: key: message        (further `# expect:` lines may follow)
"""

from pathlib import Path
from typing import List

import pytest

from lib.sluiced import run_cli

DIRECTORY = Path(__file__).parent / "bad_config"
FILES = sorted(DIRECTORY.glob("*.yaml"))
MARK = "# expect: "


def expectations(path: Path) -> List[str]:
    """What the file says it must be told."""
    lines = []
    for line in path.read_text().splitlines():
        if not line.startswith(MARK):
            break
        lines.append(line[len(MARK):].rstrip())
    return lines


def test_there_are_files():
    assert len(FILES) >= 15


@pytest.mark.parametrize("path", FILES, ids=lambda p: p.stem)
@pytest.mark.parametrize("verb", ["check", "run"])
def test_bad_file_is_refused_with_its_position(path, verb):
    expected = expectations(path)
    assert expected, f"{path} does not begin with {MARK!r}"
    result = run_cli(verb, "-c", str(path))
    output = result.stderr + result.stdout
    assert result.code == 2, output
    for text in expected:
        if verb == "check":
            assert any(f"{path}:{text}" in line for line in output), (text, output)
        else:  # in a log line, where quotes are escaped
            position = ":".join(text.split(":")[:2])
            assert any(f"{path}:{position}" in line for line in output), (position, output)
