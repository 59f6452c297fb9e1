"""Outputs that cannot be written."""

from pathlib import Path

import pytest

from tenkizu.core.errors import ConfigError
from tenkizu.core.samples import input_path
from tenkizu.core.store import atomic
from tenkizu.rain import evaluate, predict


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


@pytest.mark.parametrize("option", ["picture", "film"])
def test_a_picture_that_cannot_be_stops_a_prediction_before_it_begins(tmp_path, option):
    totals = input_path("sample:imerg_sbrazil_hourly_20231102_03.nc")
    with pytest.raises(ConfigError, match="the output is a folder"):
        predict("rain-only", totals, tmp_path / "hours.nc", **{option: tmp_path})
    assert not list(tmp_path.iterdir())


def test_scores_that_cannot_be_written_stop_an_evaluation_before_it_begins(tmp_path):
    totals = input_path("sample:imerg_sbrazil_hourly_20231102_03.nc")
    (tmp_path / "scores").write_text("a file")
    with pytest.raises(ConfigError, match="output cannot be written here"):
        evaluate("rain-only", totals, tmp_path / "scores")


def test_the_suffix_of_a_prediction_says_its_format(tmp_path):
    totals = input_path("sample:imerg_sbrazil_hourly_20231102_03.nc")
    with pytest.raises(ConfigError, match=r"hours\.txt: .*neither NetCDF nor GRIB2"):
        predict("rain-only", totals, tmp_path / "hours.txt")
