"""Outputs that cannot be written."""

from pathlib import Path

import pytest

from tenkizu.core.errors import ConfigError
from tenkizu.core.store import atomic


def test_output_that_cannot_be_is_refused_before_anything_is_made(tmp_path):
    folder, file = tmp_path / "folder", tmp_path / "file.nc"
    folder.mkdir()
    file.write_text("whole")
    with pytest.raises(ConfigError, match="the output is a folder"), atomic(folder):
        pytest.fail("begun")
    for below in (file / "hours.nc", Path("/proc/hours.nc")):
        with pytest.raises(ConfigError, match="output cannot be written here"), atomic(below):
            pytest.fail("begun")
    assert file.read_text() == "whole"
    assert sorted(tmp_path.iterdir()) == [file, folder]
