# SPDX-License-Identifier: Apache-2.0
"""A directory written as the kubelet writes ConfigMaps, Secrets and service account tokens."""

import os
import shutil
from pathlib import Path


class Mount:
    """Every file is a link into ..data, itself a link to a directory: one rename replaces all files
    at once.
    """

    def __init__(self, directory, files):
        self.directory = Path(directory)
        self.directory.mkdir(parents=True)
        self.version = 0
        self.write(files)

    def __truediv__(self, name):
        return self.directory / name

    def write(self, files):
        """Replaces the whole content by `files` (name to text), in the kubelet's order of steps."""
        old = self.directory / os.readlink(self / "..data") if self.version else None
        self.version += 1
        new = self.directory / f"..version_{self.version}"
        new.mkdir()
        for name, text in files.items():
            (new / name).write_text(text)
        (self / "..data_tmp").symlink_to(new.name)
        os.rename(self / "..data_tmp", self / "..data")
        for name in files:
            if not (self / name).is_symlink():
                (self / name).symlink_to(f"..data/{name}")
        if old:
            shutil.rmtree(old)
