"""The channel `typhoon`: fixes worked by hand, files of best tracks, and a model that sees it."""

import csv
import json
import logging
from pathlib import Path

import numpy as np
import pytest
import torch
from short_runs import ATLANTIC, atlantic, command, undrawn

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.grid import Grid
from tenkizu.patterns import evaluate, predict, train
from tenkizu.patterns.best_tracks import BestTracks, distance_km, read_best_tracks
from tenkizu.patterns.model import PatternModel
from tenkizu.patterns.verification.days import DayTable

GRID = Grid("latlon", np.arange(55.0, 14.0, -5.0), np.arange(115.0, 156.0, 5.0))
DEGREE_KM = 6371.0 * np.pi / 180.0
OWN = """storm,time,lat,lon,pressure
9119,1991-09-26T18:00,24.0,125.0,935
9119,1991-09-27T00:00,27.0,126.0,940
9119,1991-09-27 06:00:00,30.0,128.0,
9120,1991-09-27T00:00,20.0,150.0,
"""
IBTRACS = """SID,SEASON,NAME,ISO_TIME,NATURE,LAT,LON,WMO_WIND
 ,Year, , , ,degrees_north,degrees_east,kts
1991258N08168,1991,MIREILLE,1991-09-26 18:00:00,TS,24.0000,125.000,95
1991258N08168,1991,MIREILLE,1991-09-27 00:00:00,TS,27.0000,126.000,90
1991258N08168,1991,MIREILLE,1991-09-27 06:00:00,TS,30.0000,128.000,
1991265N15160,1991,NAT,1991-09-27 00:00:00,TS,20.0000,150.000,
"""


def tracks(tmp_path, text, name="tracks.csv"):
    path = tmp_path / name
    path.write_text(text)
    return read_best_tracks(path)


def at(text):
    return np.datetime64(text, "m")


def test_distances_along_a_meridian_the_equator_and_over_the_pole():
    grid = Grid("latlon", np.array([80.0, 35.0, 0.0]), np.array([10.0, 130.0]))
    np.testing.assert_allclose(distance_km(grid, np.array([25.0, 130.0]))[1, 1], 10 * DEGREE_KM)
    np.testing.assert_allclose(distance_km(grid, np.array([0.0, 190.0]))[2, 1], 60 * DEGREE_KM)
    np.testing.assert_allclose(distance_km(grid, np.array([80.0, 190.0]))[0, 0], 20 * DEGREE_KM)
    # Longitudes may be counted either way.
    np.testing.assert_allclose(distance_km(grid, np.array([0.0, -350.0]))[2, 0], 0.0, atol=1e-6)


def test_the_channel_is_one_at_the_centre_and_falls_with_the_distance():
    one = BestTracks.of(np.array([at("1991-09-27T00:00")]), np.array([[30.0, 130.0]]), None)
    (found,) = one.channel(one.begin, GRID)
    assert found.dtype == np.float32
    assert found[5, 3] == 1.0
    # 5 degrees of latitude are 555.97 km: exp(-1.2364).
    np.testing.assert_allclose(found[[4, 6], 3], np.exp(-((5 * DEGREE_KM / 500) ** 2)), rtol=1e-6)
    assert found[4, 3] == pytest.approx(0.29042, abs=1e-5)
    assert found[0, 0] < 1e-6


def test_the_nearest_of_two_storms_counts():
    places = np.array([[30.0, 130.0], [30.0, 140.0]])
    both = BestTracks.of(np.array([at("1991-09-27T00:00")] * 2), places, None)
    single = [BestTracks.of(both.begin[:1], place[None], None) for place in places]
    expected = np.maximum(*(one.channel(both.begin[:1], GRID) for one in single))
    np.testing.assert_array_equal(both.channel(both.begin[:1], GRID), expected)


def test_between_fixes_of_a_storm_it_moves_in_a_straight_line(tmp_path):
    found = tracks(tmp_path, OWN)
    np.testing.assert_allclose(found.centres(at("1991-09-26T20:00")), [[25.0, 125.0 + 1 / 3]])
    np.testing.assert_allclose(found.centres(at("1991-09-27T03:00")), [[28.5, 127.0]])
    both = found.centres(at("1991-09-27T00:00"))
    assert {tuple(place) for place in both} == {(27.0, 126.0), (20.0, 150.0)}


def test_nothing_is_known_before_the_first_and_after_the_last_fix(tmp_path):
    found = tracks(tmp_path, OWN)
    for time in ("1991-09-26T17:59", "1991-09-27T06:01", "1992-09-27T00:00"):
        assert found.centres(at(time)).shape == (0, 2)
    assert not found.channel(np.array([at("1991-09-28T00:00")]), GRID).any()


def test_a_long_gap_and_fixes_of_unknown_storms_are_not_bridged(tmp_path):
    gap = OWN.replace("9119,1991-09-27T00:00,27.0,126.0,940\n", "")
    assert len(tracks(tmp_path, gap).centres(at("1991-09-26T23:00"))) == 1  # 12 hours
    longer = gap.replace("1991-09-26T18", "1991-09-26T12")
    assert len(tracks(tmp_path, longer, "longer.csv").centres(at("1991-09-26T23:00"))) == 0
    unnamed = "\n".join(line.partition(",")[2] for line in OWN.splitlines())
    found = tracks(tmp_path, unnamed, "unnamed.csv")
    assert len(found.centres(at("1991-09-27T00:00"))) == 2
    assert len(found.centres(at("1991-09-27T03:00"))) == 0


def test_a_storm_crosses_the_date_line_the_short_way(tmp_path):
    rows = "storm,time,lat,lon\nA,2001-08-01T00:00,30,178\nA,2001-08-01T06:00,32,-178\n"
    place = tracks(tmp_path, rows).centres(at("2001-08-01T03:00"))[0]
    np.testing.assert_allclose(place, [31.0, 180.0])


def test_ibtracs_is_read_as_it_comes(tmp_path):
    one, other = tracks(tmp_path, OWN), tracks(tmp_path, IBTRACS, "ibtracs.csv")
    for time in ("1991-09-26T21:00", "1991-09-27T00:00", "1991-09-27T05:00"):
        times = np.array([at(time)])
        np.testing.assert_array_equal(one.channel(times, GRID), other.channel(times, GRID))


def test_a_header_alone_says_that_there_was_no_storm(tmp_path, caplog, monkeypatch):
    monkeypatch.setattr(logging.getLogger("tenkizu"), "propagate", True)
    none = tracks(tmp_path, "time,lat,lon\n")
    days = np.array(["1991-09-27", "1992-01-01"], "datetime64[m]")
    assert not none.channel(days, GRID).any()
    tracks(tmp_path, OWN, "own.csv").note_uncovered(days)
    assert "own.csv: no fix in 1992: the channel typhoon is 0 on 1 of 2 maps" in caplog.text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("date,lat,lon\n", "time: a column of the best tracks is missing; found date, lat, lon"),
        ("", "time, lat, lon: a column"),
        ("time,lat,lon\n1991-13-01,3,4\n", "line 2: time: not a time; found 1991-13-01"),
        ("time,lat,lon\n1991-09-01T00:00+09:00,3,4\n", "line 2: time: not a time"),
        ("time,lat,lon\n1991-09-01,3,4\n1991-09-01,27N,4\n", "line 3: lat: not a coordinate"),
        ("time,lat,lon\n1991-09-01,3,420\n", "lon: not a coordinate; found 420, expected degrees"),
        ("time,lat,lon\n1991-09-01,3\n", "line 2: a line is too short; found 1991-09-01,3"),
        ("time,lat,lon\n1991-09-01,nan,4\n", "lat: not a coordinate; found nan"),
    ],
)
def test_lines_that_cannot_be_read(tmp_path, text, message):
    with pytest.raises(DataError) as failure:
        tracks(tmp_path, text)
    assert message in str(failure.value)


def test_side_tracks_of_ibtracs_are_left_out(tmp_path):
    rows = "SID,ISO_TIME,LAT,LON,TRACK_TYPE\n , ,degrees_north,degrees_east, \n"
    rows += "A,2001-08-01 00:00:00,30,140,main\nA,2001-08-01 00:00:00,31,141,spur-other\n"
    rows += "A,2001-08-01 00:00:00,32,142,PROVISIONAL_spur\n"
    found = tracks(tmp_path, rows).centres(at("2001-08-01T00:00"))
    np.testing.assert_array_equal(found, [[30.0, 140.0]])


def test_the_guides_conversion_of_the_tokyo_best_tracks(tmp_path, monkeypatch):
    """Fixed columns: time, indicator, grade, latitude and longitude in tenths of a degree."""
    text = (Path(__file__).parents[2] / "docs" / "patterns.md").read_text(encoding="utf-8")
    (tmp_path / "bst_all.txt").write_text(
        "66666 9119  003 0045 9119 0 6             MIREILLE              19920115\n"
        "91092618 002 5 240 1250  935     090\n"
        "91092700 002 5 270 1260  940     085     30160  120 60325  250\n"
        "91092706 002 5 300 1280  945     080\n"
        "66666 0101  001 0019 0101 0 6             CIMARON               20010601\n"
        "01050906 002 2 105 1205 1002     000\n"
    )
    monkeypatch.chdir(tmp_path)
    snippet = text.partition('```python\nwith open("bst_all.txt")')[2].partition("```")[0]
    exec('with open("bst_all.txt")' + snippet, {})
    found = read_best_tracks(tmp_path / "tracks.csv")
    np.testing.assert_allclose(found.centres(at("1991-09-27T03:00")), [[28.5, 127.0]])
    np.testing.assert_allclose(found.centres(at("2001-05-09T06:00")), [[10.5, 120.5]])


# ---------------------------------------------------------------------------- a model that sees it


@pytest.fixture(scope="module")
def storms(tmp_path_factory):
    """A storm on every fourth day of the three years, at another place of the North Atlantic."""
    path = tmp_path_factory.mktemp("tracks") / "storms.csv"
    days = np.arange("2001-01-01", "2004-01-01", 4, dtype="datetime64[D]")
    rng = np.random.default_rng(5)
    places = np.column_stack([rng.uniform(35, 65, len(days)), rng.uniform(-28, 8, len(days))])
    lines = [f"{d}T00:00,{lat:.1f},{lon:.1f}" for d, (lat, lon) in zip(days, places, strict=True)]
    path.write_text("\n".join(["time,lat,lon", *lines]) + "\n")
    return path


@pytest.fixture(scope="module")
def run(pattern_config, tiny_pattern_store, storms, tmp_path_factory):
    """One epoch with the channel, its other maps as anomalies from the annual cycle."""
    folder = tmp_path_factory.mktemp("typhoons")
    data = {"typhoons": str(storms), "anomaly": "climatology", "history": ["msl"]}
    with pytest.MonkeyPatch.context() as patch:
        undrawn(patch, keep_cases=True)
        patch.setattr("tenkizu.patterns.reporting.report", lambda folder: folder)
        return train(pattern_config(folder, data=data, train={"epochs": 1}, report={"cases": 1}))


def test_the_network_sees_the_channel_and_zero_where_there_is_no_storm(run, storms):
    model = PatternModel.load(run)
    assert model.inputs.names == ("msl", "grad_msl", "msl@-24h", "typhoon", "f1_season")
    days = np.array(["2003-01-02", "2003-01-03"], "datetime64[m]")
    channel = read_best_tracks(storms).channel(days, model.grid)
    assert channel.any(axis=(1, 2)).tolist() == [False, True]  # 732 days from the first
    maps = np.concatenate(
        [np.full((2, 3, *model.grid.shape), 1e5, np.float32), channel[:, None]], 1
    )
    planes = model.members[0].planes(torch.from_numpy(maps), torch.zeros(2, 4))
    np.testing.assert_allclose(planes[:, 3].numpy(), channel / 0.25, rtol=1e-6)
    assert json.loads((run / "norm.json").read_text())["channel_names"][3] == "typhoon"
    with np.load(run / "cases" / "test.npz") as cases:
        assert "typhoon" in cases["channels"]


def test_store_and_file_give_the_scores_of_the_run(
    run, storms, tiny_pattern_store, monkeypatch, tmp_path
):
    undrawn(monkeypatch)
    own = json.loads((run / "evaluation" / "test" / "scores.json").read_text())
    for number, data in enumerate((tiny_pattern_store.path, ATLANTIC)):
        out = tmp_path / str(number)
        found = evaluate(run, data, out, days="2003/2003", typhoons=storms)
        assert found["map"] == pytest.approx(own["map"], abs=1e-6)
        assert found["brier"] == pytest.approx(own["brier"], abs=1e-6)


def test_predictions_rest_on_the_tracks_that_are_given(run, storms, tmp_path, monkeypatch, caplog):
    file = atlantic(tmp_path / "spring.nc", "2003-03-25", "2003-04-03")
    out = tmp_path / "days.csv"
    code, _, err = command("patterns", "predict", run, file, "-o", out, "--typhoons", storms)
    assert code == 0, err
    own = DayTable.from_csv(run / "probabilities_test.csv")
    first = int(np.searchsorted(own.times, np.datetime64("2003-03-25")))
    # The day before the first, of which the network sees the pressure, is in no file here.
    expected = own.calibrated[first + 1 : first + 10, own.labels.index("W")]

    def west(path):
        return np.array([float(row["p_W"]) for row in csv.DictReader(path.open())])[1:]

    np.testing.assert_allclose(west(out), expected, atol=1e-5)
    nothing = tmp_path / "none.csv"
    nothing.write_text("time,lat,lon\n")
    without = west(predict(run, file, tmp_path / "without.csv", typhoons=nothing))
    days = np.datetime64("2003-03-26") + np.arange(9)
    stormy = (days - np.datetime64("2001-01-01")).astype(int) % 4 == 0
    assert (np.abs(without - expected)[stormy] > 1e-5).all()
    np.testing.assert_allclose(without[~stormy], expected[~stormy], atol=1e-5)
    monkeypatch.setattr(logging.getLogger("tenkizu"), "propagate", True)
    other = tmp_path / "other.csv"
    other.write_text("time,lat,lon\n1991-09-27,30,-10\n")
    predict(run, file, tmp_path / "other_days.csv", typhoons=other)
    assert "other.csv: no fix in 2003: the channel typhoon is 0 on 10 of 10 maps" in caplog.text


def test_a_model_that_sees_typhoons_says_so_and_one_that_does_not_as_well(
    run, tiny_pattern_run, tiny_pattern_store, storms, tmp_path, monkeypatch, caplog
):
    for data in (tiny_pattern_store.path, ATLANTIC):
        with pytest.raises(ConfigError) as failure:
            predict(run, data, tmp_path / "days.csv")
        assert str(failure.value).startswith(
            "--typhoons: the model sees the tracks of typhoons, and none are given"
        )
    with pytest.raises(DataError, match=r"away.csv: no such file"):
        predict(run, ATLANTIC, tmp_path / "days.csv", typhoons=tmp_path / "away.csv")
    monkeypatch.setattr(logging.getLogger("tenkizu"), "propagate", True)
    file = atlantic(tmp_path / "spring.nc", "2003-03-25", "2003-03-26")
    predict(tiny_pattern_run, file, tmp_path / "days.csv", typhoons=storms)
    assert "storms.csv is not used: the model sees no typhoons" in caplog.text
