"""The climatological table by boxes of 3 x 3 degrees: cell by cell, where thin, in a store."""

import json

import numpy as np
import pytest
from msm_store import make_fields, make_rain, write_month

from tenkizu.core.errors import DataError
from tenkizu.core.grid import Grid
from tenkizu.rain import baselines
from tenkizu.rain.baselines import SUM_BINS, Climatology, boxes_of, hour_and_season

GRID = Grid("latlon", 37.5 - np.arange(6.0), 359.5 + np.arange(5.0))
"""Latitudes 37.5 to 32.5, longitudes 359.5 E to 3.5 E, across the meridian of Greenwich."""

BOXES = boxes_of(GRID)


@pytest.fixture
def few_cells(monkeypatch):
    """Eight cells of a class are enough for shares of its own."""
    monkeypatch.setattr(baselines, "BOX_CELLS", 8)


@pytest.fixture(scope="module")
def windows():
    """Start, hours and total of 60 windows on `GRID`, in February and March."""
    rng = np.random.default_rng(7)
    result = []
    for number in range(60):
        hours = rng.gamma(0.4, 9.0, (3, *GRID.shape)).astype(np.float32)
        hours[number % 3, :, :2] *= 2
        hours[:, rng.random(GRID.shape) < 0.2] = 0
        start = np.datetime64("2023-02-25T00:00") + np.timedelta64(3 * number, "h")
        result.append((start, hours, hours.sum(axis=0)))
    result[4][2][2, 3] = np.nan
    return result


@pytest.fixture(scope="module")
def table(windows):
    return sum((Climatology.of(*one, BOXES) for one in windows), Climatology.empty())


def test_boxes_lie_on_multiples_of_three_degrees_across_the_meridian():
    # 36-39 N is the 43rd row from 90 S, 359.5 E in the last column, 0.5 to 2.5 E in the first.
    assert BOXES[0].tolist() == [42 * 120 + 119, *3 * [42 * 120], 42 * 120 + 1]
    assert BOXES[:, 1].tolist() == [n * 120 for n in (42, 42, 41, 41, 41, 40)]
    west = Grid("latlon", GRID.y, GRID.x - 360)
    np.testing.assert_array_equal(boxes_of(west), BOXES)


def test_rounded_coordinates_stay_on_their_side_of_a_border():
    exact = Grid("latlon", np.array([39.0, 36.0]), np.array([135.0, 138.0]))
    below = Grid("latlon", exact.y - 1e-9, exact.x.astype(np.float32) - 1e-9)
    np.testing.assert_array_equal(boxes_of(below), boxes_of(exact))


def test_boxes_need_latitude_and_longitude():
    with pytest.raises(DataError, match=r"data.climatology_boxes"):
        boxes_of(Grid("projected", np.arange(3.0)[::-1], np.arange(4.0), "y", "x", "km"))


def test_sums_and_counts_are_those_of_a_loop_over_every_cell(windows, table):
    expected = {int(box): np.zeros((8, 4, 6, 4)) for box in np.unique(BOXES)}
    for start, hours, total in windows:
        for row, column in np.ndindex(GRID.shape):
            reached = [i for i, edge in enumerate(SUM_BINS) if total[row, column] >= edge]
            if reached:
                where = (*hour_and_season(start), reached[-1])
                expected[int(BOXES[row, column])][where] += *hours[:, row, column], 1
    assert table.boxes.keys() == expected.keys()
    for box, sums in expected.items():
        np.testing.assert_allclose(table.boxes[box], sums, rtol=1e-12)
    # The table of all cells is what it is without boxes.
    plain = sum((Climatology.of(*one) for one in windows), Climatology.empty())
    np.testing.assert_allclose(table.sums, plain.sums, rtol=1e-12)
    assert plain.boxes == {}


def test_each_cell_is_split_as_its_box_or_where_that_is_thin_as_all(windows, table, few_cells):
    pooled = Climatology(table.sums)
    chosen = {"box": 0, "all": 0}
    for start, _, total in windows[:12]:
        split, together = table.split(start, total, BOXES), pooled.split(start, total)
        for row, column in np.ndindex(GRID.shape):
            amount = total[row, column]
            reached = [i for i, edge in enumerate(SUM_BINS) if amount >= edge]
            if not reached:
                continue
            own = table.boxes[int(BOXES[row, column])][(*hour_and_season(start), reached[-1])]
            thick = own[3] >= 8
            chosen["box" if thick else "all"] += 1
            expected = amount * own[:3] / own[:3].sum() if thick else together[:, row, column]
            np.testing.assert_allclose(split[:, row, column], expected, rtol=1e-5)
        dry = total == 0
        assert (split[:, dry] == 0).all()
        np.testing.assert_array_equal(np.isnan(split), np.isnan(np.stack(3 * [total])))
        known = ~np.isnan(total)
        np.testing.assert_allclose(split.sum(axis=0)[known], total[known], rtol=1e-5)
    assert min(chosen.values()) > 20


def test_a_box_that_training_never_saw_takes_the_shares_of_all(table, few_cells):
    start, total = np.datetime64("2023-02-25T00:00"), np.full(GRID.shape, 4.0, np.float32)
    np.testing.assert_array_equal(
        table.split(start, total, BOXES + 2400), table.split(start, total)
    )


def test_tables_of_parts_add_in_any_order_and_survive_json(windows, table):
    half, others = (
        sum((Climatology.of(*one, BOXES) for one in part), Climatology.empty())
        for part in (windows[::2], windows[1::2])
    )
    for both in (half + others, others + half, Climatology.from_json(_through_json(table))):
        np.testing.assert_allclose(both.sums, table.sums, rtol=1e-12)
        assert both.boxes.keys() == table.boxes.keys()
        for box, sums in table.boxes.items():
            np.testing.assert_allclose(both.boxes[box], sums, rtol=1e-12)
    # What was added is as it was.
    assert half.boxes[int(BOXES[0, 0])][..., 3].sum() < table.boxes[int(BOXES[0, 0])][..., 3].sum()


def _through_json(table):
    return json.loads(json.dumps(table.to_json()))


@pytest.fixture
def boxed(tiny_config, tmp_path):
    """A store whose climatology is by box, too."""
    from tenkizu.rain import prepare

    update = {"climatology_boxes": True, "store": tmp_path / "boxed"}
    data = tiny_config.data.model_copy(update=update)
    return prepare(tiny_config.model_copy(update={"data": data}))


def test_a_store_keeps_the_table_of_each_box(boxed, tiny_store):
    assert boxed.meta["plan_hash"] != tiny_store.meta["plan_hash"]
    kept = Climatology.from_json(boxed.meta["climatology"])
    plain = Climatology.from_json(tiny_store.meta["climatology"])
    np.testing.assert_allclose(kept.sums, plain.sums, rtol=1e-12)
    boxes = boxes_of(Grid.from_json(boxed.meta["grid"]))
    assert set(kept.boxes) == set(np.unique(boxes).tolist())
    # Two months in blocks of their own, and the cells of all training windows counted once.
    scored = sum(
        np.count_nonzero(boxed.read("rain", i)[4] >= np.float32(0.1))
        for i, split in enumerate(boxed.meta["splits"])
        if split == "train"
    )
    assert sum(sums[..., 3].sum() for sums in kept.boxes.values()) == scored


def test_the_evaluation_scores_the_shares_of_the_boxes(
    boxed, tiny_config, tiny_rain_file, tmp_path, monkeypatch
):
    import torch

    from tenkizu.core.stats import Moments
    from tenkizu.rain.dataset import input_channels
    from tenkizu.rain.evaluation import evaluate
    from tenkizu.rain.hourly import open_rain, read_window, window_starts
    from tenkizu.rain.model import Disaggregator, export

    monkeypatch.setattr(baselines, "BOX_CELLS", 50)
    torch.manual_seed(1)
    moments = Moments.from_json(boxed.meta["statistics"]["log1p_mm"])
    net = Disaggregator(tiny_config.model, input_channels(tiny_config.data, moments))
    config = {"scores": {"fss_windows": []}, "plots": {"cases": 0}}
    details = {"name": "boxed", "climatology": boxed.meta["climatology"], "config": config}
    model = export(tmp_path / "model", net, tiny_config.model, details)
    scores = evaluate(model, tiny_rain_file, tmp_path / "out")
    table = Climatology.from_json(boxed.meta["climatology"])
    with open_rain(tiny_rain_file) as series:
        boxes = boxes_of(series.grid)
        windows = [(start, read_window(series, start)) for start in window_starts(series)]
    for given, differs in ((boxes, False), (None, True)):
        errors = [table.split(start, one.total, given) - one.hours for start, one in windows]
        rmse = np.sqrt(np.mean(np.square(errors, dtype=np.float64)))
        assert (scores["rmse_1h"]["climatological"] != pytest.approx(rmse, rel=1e-5)) == differs


def test_a_store_of_msm_forecasts_keeps_them_too(tmp_path):
    from tenkizu.core.config import load_config
    from tenkizu.core.samples import shipped_configs
    from tenkizu.rain import prepare
    from tenkizu.rain.config import RainConfig

    rng = np.random.default_rng(3)
    times = ["2018-07-05T03", "2018-07-06T00"]
    rain = np.stack([make_rain(rng, (20, 20)) for _ in times])
    fields = np.stack([make_fields(rng, (20, 20)) for _ in times])
    write_month(tmp_path / "in" / "201807.nc", times, fields, rain)
    wanted = [f"data.msm.monthly_dir={tmp_path / 'in'}", "data.splits={train: [2018/2018]}"]
    made = []
    for given in ("true", "false"):
        own = [f"data.store={tmp_path / given}", f"data.climatology_boxes={given}"]
        made.append(
            prepare(load_config(RainConfig, shipped_configs()["rain_msm"], [*wanted, *own]))
        )
    boxed, plain = (Climatology.from_json(store.meta["climatology"]) for store in made)
    np.testing.assert_allclose(boxed.sums, plain.sums, rtol=1e-12)
    boxes = boxes_of(Grid.from_json(made[0].meta["grid"]))
    scored = rain[:, 4] >= np.float32(0.1)
    for box, sums in boxed.boxes.items():
        assert sums[..., 3].sum() == np.count_nonzero(scored & (boxes == box))
        hours = rain[:, 1:4].astype(np.float64)
        inside = (scored & (boxes == box))[:, None]
        assert sums[..., :3].sum() == pytest.approx(hours.sum(where=inside), rel=1e-6)
    assert boxed.boxes
    assert made[0].meta["plan_hash"] != made[1].meta["plan_hash"]
