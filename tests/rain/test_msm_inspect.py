"""`tenkizu rain inspect`: what a file holds, in words."""

import json
from datetime import datetime
from pathlib import Path

import numpy as np
import pytest
import typer
from jma_bytes import FieldSpec, Grid, message
from jma_products import SMALL, sea_mask, smooth_rain, write_guidance, write_radar_analysis
from typer.testing import CliRunner

from tenkizu.rain.msm.cli_inspect import inspect
from tenkizu.rain.msm.inspection import hours, inspect_file

MEPS = Path(__file__).parents[1] / "data" / "grib"
MEPS /= "Z__C_RJTD_20190605000000_MEPS_GPV_Rjp_L-pall_FH00_first20_grib2.bin"
T0 = datetime(2020, 7, 3, 12)

app = typer.Typer()
app.command()(inspect)


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("made")
    # Local parameter 0/19/234 on a level of type 20, template 4.0.
    odd = FieldSpec(
        np.full((3, 4), 280.0), 19, 234, surface=(20, 0, 5), grid=Grid(3, 4, 40, 130, 1, 1)
    )
    unknown = folder / "unknown.bin"
    unknown.write_bytes(message([odd], T0))
    cut = folder / "cut.bin"
    cut.write_bytes(MEPS.read_bytes()[:-100])
    return {
        "guidance": write_guidance(folder, T0, ends=(3, 6), grid=SMALL, probability=True)[0],
        "radar": write_radar_analysis(folder, T0)[0],
        "unknown": unknown,
        "cut": cut,
    }


def test_the_table_of_a_real_file_reads_well():
    result = CliRunner().invoke(app, [str(MEPS)])
    assert result.exit_code == 0
    lines = result.stdout.splitlines()
    assert lines[0] == f"{MEPS}: 20 fields, reference time 2019-06-05 00:00 UTC"
    assert lines[1] == "grid A: 253 x 241, lat 47.6..22.4 by 0.1, lon 120..150 by 0.125, scan 0"
    assert len(lines) == 3 + 20
    words = lines[3 + 14].split()
    assert words[:5] == ["14", "geopotential", "height", "gpm", "500"]
    assert words[5:12] == ["hPa", "2019-06-05", "00:00", "(+0", "h)", "0", "0/3/5"]
    assert words[-5:] == ["A", "5472.7", "5763.62", "5902.33", "0"]


def test_json_holds_rows_of_every_file_and_errors_of_bad_ones(made):
    result = CliRunner().invoke(
        app, ["--json", str(made["cut"]), str(made["radar"]), str(made["unknown"])]
    )
    assert result.exit_code == 3
    assert "cut.bin: the message is cut off" in result.stderr
    cut, radar, unknown = json.loads(result.stdout)
    assert cut["fields"] == []
    (rain,) = radar["fields"]
    assert rain["what"] == "precipitation (radar and gauges), 1 h sum"
    assert rain["time"] == "2020-07-03 11:00 to 12:00 (-1 h to +0 h)"
    assert (rain["template"], rain["packing"]) == ("4.50008", "run length")
    (row,) = unknown["fields"]
    assert (row["what"], row["parameter"]) == ("unknown parameter", "0/19/234")
    assert (row["level"], row["mean"]) == ("level type 20 at 5", 280.0)


def test_missing_points_chances_and_reused_bitmaps_are_said(made):
    rain, chance, *_ = inspect_file(made["guidance"])["fields"]
    assert rain["what"] == "precipitation (guidance), 3 h sum"
    assert chance["what"] == "chance of a certain precipitation (guidance), 3 h sum"
    assert (rain["bitmap"], chance["bitmap"]) == ("own", "reused")
    mask = sea_mask(SMALL)
    assert (rain["points"], rain["missing"]) == (mask.size, (~mask).sum())
    assert rain["mean"] == pytest.approx(smooth_rain(SMALL, 3)[mask].mean())


def test_a_field_that_cannot_be_decoded_does_not_hide_the_others(tmp_path):
    grid = Grid(3, 4, 40, 130, 1, 1)
    field = FieldSpec(np.arange(12.0).reshape(3, 4), 2, 2, grid=grid)
    content = bytearray(message([field, field], T0))
    # Section 5 begins after sections 0 (16 bytes), 1 (21), 3 (72) and 4 (34): packing 5.0 -> 5.61.
    content[16 + 21 + 72 + 34 + 10] = 61
    path = tmp_path / "odd.bin"
    path.write_bytes(content)
    first, second = inspect_file(path)["fields"]
    assert "packing 5.61" in first["error"]
    assert first["mean"] is None
    assert (second["error"], second["mean"]) == (None, 5.5)


@pytest.mark.parametrize(
    ("minutes", "text"), [(180, "3 h"), (90, "90 min"), (0, "0 h"), (-60, "-1 h")]
)
def test_lengths_of_time_in_words(minutes, text):
    assert hours(minutes) == text
