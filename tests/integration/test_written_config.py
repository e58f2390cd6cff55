# SPDX-License-Identifier: Apache-2.0
"""Every block of YAML in README, CONTRIBUTING and docs/, and every file of config/examples, is a
whole configuration that sluiced takes."""

import pytest

from lib.sluiced import ROOT
from lib.written import assert_accepted, fenced_yaml

PAGES = [ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = [(f"{page.relative_to(ROOT)}:{line}", text)
          for page in PAGES for line, text in fenced_yaml(page)]
EXAMPLES = sorted((ROOT / "config" / "examples").glob("*.yaml"))


def test_readme_shows_each_of_its_uses():
    readme = [name for name, _ in BLOCKS if name.startswith("README.md")]
    assert len(readme) >= 3, readme
    assert EXAMPLES


@pytest.mark.parametrize("name, text", BLOCKS, ids=[name for name, _ in BLOCKS])
def test_block_of_a_page_is_accepted(name, text, ca, tmp_path):
    assert_accepted(text, ca, tmp_path)


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.stem)
def test_example_is_accepted(path, ca, tmp_path):
    assert_accepted(path.read_text(), ca, tmp_path)
