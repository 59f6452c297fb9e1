import numpy as np
import pytest

from tenkizu.core.errors import DataError
from tenkizu.core.grid import EARTH_RADIUS_M, Grid
from tenkizu.patterns.analogues import (
    cosine_distances,
    nearest,
    read_analogues,
    rmse_distances,
    s1_distances,
    write_analogues,
)

GRID = Grid("latlon", np.arange(55.0, 14.0, -10.0), np.arange(115.0, 156.0, 10.0))


def maps(count, seed):
    return 1e5 + 800.0 * np.random.default_rng(seed).normal(size=(count, *GRID.shape))


def days(*texts):
    return np.array(texts, "datetime64[D]")


def test_days_within_ten_days_are_passed_over():
    train = days("2001-01-10", "2001-01-11", "2001-01-30", "2001-01-31", "2001-03-01")
    found = nearest([[0.1, 0.5, 0.2, 0.4, 0.9]], days("2001-01-20"), train, count=3)
    # 10 and 30 January are 10 days away, 11 January 9: only the last two may be used.
    assert found.index.tolist() == [[3, 4, -1]]
    np.testing.assert_allclose(found.distance, [[0.4, 0.9, np.nan]])


def test_nearest_come_first_and_the_earlier_of_equals():
    train = days("1991-01-01", "1992-01-01", "1993-01-01", "1994-01-01")
    found = nearest([[0.3, 0.1, 0.1, 0.2]], days("2000-01-01"), train, count=3)
    assert found.index.tolist() == [[1, 2, 3]]


def test_fewer_training_days_than_wanted_leave_places_empty():
    found = nearest([[0.3]], days("2000-01-01"), days("1991-01-01"))
    assert found.index.tolist() == [[0, -1, -1, -1, -1]]


def test_cosine_distance_sees_directions_only():
    train = [[2.0, 0.0], [0.0, 7.0], [-1.0, 0.0], [3.0, 3.0], [0.0, 0.0]]
    distance = cosine_distances([[5.0, 0.0]], train)
    np.testing.assert_allclose(distance, [[0.0, 1.0, 2.0, 1.0 - np.sqrt(0.5), 1.0]], atol=1e-12)


def test_anomaly_rmse_equals_its_definition_and_ignores_the_level():
    a, b = maps(2, 0), maps(3, 1)
    weights = np.cos(np.deg2rad(GRID.y))[:, None] * np.ones(GRID.shape)
    found = rmse_distances(a, b, GRID)
    for i, own in enumerate(a):
        for j, other in enumerate(b):
            difference = own - other
            difference = difference - np.average(difference, weights=weights)
            expected = np.sqrt(np.average(difference**2, weights=weights))
            assert found[i, j] == pytest.approx(expected)
    np.testing.assert_allclose(rmse_distances(a, a[:1] + 500.0, GRID)[0], 0.0, atol=1e-3)


def test_s1_of_a_zonal_flow_against_a_stronger_and_the_opposite_one():
    # Pressure falling northward by 1 and by 4: error 3 of larger 4; reversed: error 2 of larger 1.
    fall = -GRID.y[:, None] * np.ones(GRID.shape)
    found = s1_distances([fall], [fall, 4.0 * fall, -fall, fall + 10.0], GRID)
    np.testing.assert_allclose(found, [[0.0, 75.0, 200.0, 0.0]], atol=1e-10)


def test_s1_adds_gradients_per_metre_of_both_directions():
    # Eastward 1 a degree at every row, northward 2 a degree, against a flat map with northward 2:
    # the error is the eastward gradient, the larger are both.
    east = np.ones(GRID.shape) * GRID.x
    north = 2.0 * GRID.y[:, None] * np.ones(GRID.shape)
    degree = np.deg2rad(1.0) * EARTH_RADIUS_M
    eastward = (len(GRID.x) - 1) * (1.0 / (degree * np.cos(np.deg2rad(GRID.y)))).sum()
    northward = 2.0 / degree * len(GRID.x) * (len(GRID.y) - 1)
    found = s1_distances([east + north], [north], GRID)
    assert found[0, 0] == pytest.approx(100.0 * eastward / (eastward + northward))


def test_s1_between_flat_maps_is_undefined():
    assert np.isnan(s1_distances(np.ones((1, *GRID.shape)), np.ones((1, *GRID.shape)), GRID))[0, 0]


def test_the_table_says_date_rank_and_label_and_can_be_read_back(tmp_path):
    train = days("1991-01-01", "1992-01-01")
    found = nearest([[0.25, 0.125]], days("2000-01-01"), train, count=3)
    path = tmp_path / "analogues.csv"
    write_analogues(path, days("2000-01-01"), found, train, ["1", "2A+3B"])
    assert path.read_text() == (
        "date,rank,analogue_date,distance,label\n"
        "2000-01-01,1,1992-01-01,0.125,2A+3B\n"
        "2000-01-01,2,1991-01-01,0.25,1\n"
    )
    rows = read_analogues(path)["2000-01-01"]
    assert [(r["rank"], r["label"]) for r in rows] == [("1", "2A+3B"), ("2", "1")]


def test_another_table_is_refused_by_its_columns(tmp_path):
    path = tmp_path / "analogues.csv"
    path.write_text("date,label\n2000-01-01,1\n")
    with pytest.raises(DataError, match=r"found date, label, expected date, rank"):
        read_analogues(path)
    with pytest.raises(DataError, match="cannot be read"):
        read_analogues(tmp_path / "none.csv")
