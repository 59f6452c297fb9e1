"""The comparison with S/3: worked by hand, by brute force, and how it is told."""

import numpy as np
import pytest

from tenkizu.core.grid import Grid
from tenkizu.rain.baselines import equal_split
from tenkizu.rain.equal_split import EqualSplit
from tenkizu.rain.equal_split_text import equal_split_text
from tenkizu.rain.score_intervals import time_blocks

T0 = np.datetime64("2023-01-01T03:00", "m")
THREE_HOURS = np.timedelta64(180, "m")


def at(i):
    return T0 + i * THREE_HOURS


def compared(truth, model, total=None, land=None, start=T0):
    """One window of single cells: truth and model (3, n), mm."""
    truth, model = (np.array(v, np.float32)[:, None] for v in (truth, model))
    total = truth.sum(axis=0) if total is None else np.array([total], np.float32)
    result = EqualSplit(total.shape, None if land is None else np.array([land]))
    result.add(start, model, truth, total)
    return result


def windows_of(n, gain, seed=0, shape=(3, 4)):
    """n windows; ``gain`` of the way from S/3 to the truth is the model's typical place."""
    rng = np.random.default_rng(seed)
    for i in range(n):
        total = np.where(rng.random(shape) < 0.8, rng.gamma(0.7, 15, shape), 0).astype(np.float32)
        truth = rng.dirichlet([1, 1, 1], shape).transpose(2, 0, 1) * total
        share = gain + rng.normal(0, 0.3, shape)
        model = equal_split(total) * (1 - share) + truth * share
        yield at(i), model.astype(np.float32), truth.astype(np.float32), total


def series(n, gain, seed=0, land=None):
    result = EqualSplit((3, 4), land)
    for window in windows_of(n, gain, seed):
        result.add(*window)
    return result


def told(comparison):
    """The text of `equal_split_detailed.txt`."""
    result = {"model": "toy", "weights": "abc", "data": "made up"}
    return equal_split_text(result | {"equal_split": comparison.summary()})


# ---------------------------------------------------------------------------- by hand


def test_wins_ties_and_losses_by_hand():
    # S = 6 everywhere, S/3 = 2. Truth (4, 2, 0): S/3 errs by 4 + 0 + 4 = 8.
    #   cell 1: exact, 0: win. cell 2: (2, 2, 2), 8: tie. cell 3: (0, 2, 4), 32: loss.
    #   cell 4: S = 0.09, below the limit: not evaluated, though worse than S/3.
    truth = [[4, 4, 4, 0.03], [2, 2, 2, 0.03], [0, 0, 0, 0.03]]
    model = [[4, 2, 0, 0.09], [2, 2, 2, 0], [0, 2, 4, 0]]
    found = compared(truth, model).summary()["overall"]
    counts = [found[name] for name in ("cells", "wins", "ties", "losses")]
    assert counts == [3, 1, 1, 1]
    assert found["rmse_model"] == pytest.approx(np.sqrt((0 + 8 + 32) / 9))
    assert found["rmse_equal"] == pytest.approx(np.sqrt(24 / 9))
    assert found["rmse_difference"]["value"] == pytest.approx(np.sqrt(40 / 9) - np.sqrt(24 / 9))
    assert found["skill"]["value"] == pytest.approx(1 - 40 / 24)
    rates = [found["win_rate"]["value"], found["tie_rate"], found["loss_rate"]]
    assert rates == pytest.approx([1 / 3] * 3)


def test_a_tie_reaches_to_a_millionth_of_s_squared():
    # S = 3000 in one hour: S/3 errs by 2 * 1000^2 + 2000^2 = 6e6, and a tie by up to 9. Moving d
    # from an empty hour to the wet one changes that by -(4000 + 2000) d + 2 d^2.
    truth = np.array([[3000], [0], [0]])
    for d, outcome in ((0.0014, "ties"), (0.0016, "wins"), (-0.0014, "ties"), (-0.0016, "losses")):
        model = np.float64([[1000 + d], [1000 - d], [1000]])
        result = EqualSplit((1, 1))
        predicted = model.astype(np.float32)[:, None]
        result.add(T0, predicted, truth.astype(np.float32)[:, None], np.float32([[3000]]))
        assert result.summary()["overall"][outcome] == 1, (d, outcome)


def test_single_hours_are_divided_by_cells_and_all_by_three_times_as_many():
    found = compared([[4, 4], [2, 2], [0, 0]], [[4, 1], [2, 2], [0, 3]]).summary()
    hours = found["by_hour"]
    assert {h: e["rmse_model"] for h, e in hours.items()} == pytest.approx(
        {"FT+4": np.sqrt(9 / 2), "FT+5": 0, "FT+6": np.sqrt(9 / 2)}
    )
    assert {h: e["rmse_equal"] for h, e in hours.items()} == pytest.approx(
        {"FT+4": 2, "FT+5": 0, "FT+6": 2}
    )
    assert hours["FT+4"]["skill"]["value"] == pytest.approx(1 - 9 / 8)
    assert np.isnan(hours["FT+5"]["skill"]["value"])
    assert found["overall"]["rmse_model"] == pytest.approx(np.sqrt(18 / 6))


def test_the_limit_of_evaluation_is_a_float32_tenth_of_a_mm():
    limit = np.float32(0.1)
    truth = np.array([[limit, np.nextafter(limit, np.float32(0))], [0, 0], [0, 0]])
    assert compared(truth, truth).summary()["overall"]["cells"] == 1


# ---------------------------------------------------------------------------- maps


def test_maps_by_hand_over_two_windows():
    grid = Grid("latlon", np.array([36.0]), np.array([135.0, 136.0, 137.0]))
    result = EqualSplit((1, 3))
    exact = np.float32([[[4, 0, 4]], [[2, 0, 2]], [[0, 0, 0]]])
    total = exact.sum(axis=0)
    result.add(at(0), exact, exact, total)  # wins in cells 0 and 2, cell 1 dry
    wrong = exact[::-1]
    missing = exact.copy()
    missing[1, 0, 2] = np.nan  # cell 2 has one unknown hour
    result.add(at(1), wrong, missing, total)  # loss in cell 0
    maps = result.maps(grid)
    assert maps["improved_count_map"].tolist() == [[1, 0, 1]]
    assert maps["loss_count_map"].tolist() == [[1, 0, 0]]
    assert maps["tie_count_map"].tolist() == [[0, 0, 0]]
    assert maps["total_count_map"].tolist() == [[2, 0, 1]]
    # S/3 errs by 8 each time; the model by 0, then by 16 + 16 = 32.
    assert maps["sse_model_map"].tolist() == [[32, 0, 0]]
    assert maps["sse_base_map"].tolist() == [[16, 0, 8]]
    np.testing.assert_array_equal(maps["mean_sse_diff_map"], [[8, np.nan, -8]])
    assert maps["n_times"] == 2
    assert (maps["lat"].tolist(), maps["lon"].tolist()) == ([36], [135, 136, 137])
    for name in ("improved_count_map", "total_count_map", "tie_count_map", "loss_count_map"):
        assert maps[name].dtype == np.int64
    for name in ("mean_sse_diff_map", "sse_model_map", "sse_base_map"):
        assert maps[name].dtype == np.float64


def test_a_grid_without_latitudes_keeps_its_own_axes():
    grid = Grid("projected", np.array([2.0, 1.0]), np.array([5.0]), "y", "x", "km")
    maps = EqualSplit((2, 1)).maps(grid)
    assert np.isnan([*maps["lat"], *maps["lon"]]).all()
    assert (maps["y"].tolist(), maps["x"].tolist()) == ([2, 1], [5])
    assert maps["axis_units"] == "km"


def test_maps_add_up_to_the_counts():
    result = series(12, 0.3)
    maps, found = result.maps(Grid("index", np.arange(3.0), np.arange(4.0))), result.summary()
    every = found["overall"]
    for name, key in (("improved", "wins"), ("tie", "ties"), ("loss", "losses")):
        assert maps[f"{name}_count_map"].sum() == every[key]
    assert maps["total_count_map"].sum() == every["cells"]
    assert 1 - maps["sse_model_map"].sum() / maps["sse_base_map"].sum() == pytest.approx(
        every["skill"]["value"]
    )


# ---------------------------------------------------------------------------- groups


def test_groups_agree_with_plain_masks():
    rng = np.random.default_rng(5)
    land = rng.random((6, 7)) < 0.5
    # Every 27 hours over 14 months, so that every season and hour occurs.
    starts = [at(9 * i) for i in range(380)]
    windows = []
    result = EqualSplit(land.shape, land)
    for start in starts[::3]:
        total = np.where(rng.random((6, 7)) < 0.6, rng.gamma(0.5, 40, (6, 7)), 0)
        truth = (rng.dirichlet([1, 1, 1], (6, 7)).transpose(2, 0, 1) * total).astype(np.float32)
        total = truth.sum(axis=0, dtype=np.float64).astype(np.float32)
        model = (rng.dirichlet([3, 3, 3], (6, 7)).transpose(2, 0, 1) * total).astype(np.float32)
        result.add(start, model, truth, total)
        windows.append((start, model, truth, total))
    found = result.summary()

    def expected(keep):
        """SSE of both per cell, of those kept."""
        model, equal = [], []
        for start, predicted, truth, total in windows:
            chosen = (total >= np.float32(0.1)) & keep(start, total)
            model.append((((predicted - truth.astype(float)) ** 2).sum(axis=0))[chosen])
            equal.append((((total / 3 - truth.astype(float)) ** 2).sum(axis=0))[chosen])
        return np.concatenate(model), np.concatenate(equal)

    def check(entry, keep):
        model, equal = expected(keep)
        assert entry["cells"] == len(model)
        assert entry["wins"] == (model < equal).sum()
        assert entry["rmse_model"] == pytest.approx(np.sqrt(model.mean() / 3))
        assert entry["skill"]["value"] == pytest.approx(1 - model.sum() / equal.sum(), abs=1e-6)

    bins = [0.1, 10, 20, 40, 60, 100, np.inf]
    assert list(found["by_amount"]) == ["0.1-10", "10-20", "20-40", "40-60", "60-100", ">=100"]
    for entry, low, high in zip(found["by_amount"].values(), bins, bins[1:], strict=False):
        check(entry, lambda _, total, low=low, high=high: (total >= low) & (total < high))

    def t0(start):
        return (start - THREE_HOURS).item()

    assert list(found["by_hour_of_day"]) == ["00", "03", "06", "09", "12", "15", "18", "21"]
    for label, entry in found["by_hour_of_day"].items():
        if entry["cells"]:
            check(entry, lambda start, _, h=int(label): t0(start).hour == h)
    months = {"DJF": (12, 1, 2), "MAM": (3, 4, 5), "JJA": (6, 7, 8), "SON": (9, 10, 11)}
    for label, entry in found["by_season"].items():
        check(entry, lambda start, _, m=months[label]: t0(start).month in m)
    check(found["by_surface"]["land"], lambda *_: land)
    check(found["by_surface"]["sea"], lambda *_: ~land)
    for group in ("by_amount", "by_hour_of_day", "by_season", "by_surface"):
        parts = found[group].values()
        assert sum(e["cells"] for e in parts) == found["overall"]["cells"], group


def test_windows_at_other_hours_have_other_labels():
    result = EqualSplit((1, 1))
    one = np.ones((3, 1, 1), np.float32)
    result.add(np.datetime64("2023-01-01T01:00", "m"), one, one, one.sum(axis=0))
    hours = result.summary()["by_hour_of_day"]
    # The window begins at 01 UTC, so t0 is 22 UTC of the day before.
    assert list(hours) == ["01", "04", "07", "10", "13", "16", "19", "22"]
    assert [label for label, entry in hours.items() if entry["cells"]] == ["22"]


# ---------------------------------------------------------------------------- blocks and verdicts


def test_blocks_are_a_tenth_of_the_period_but_at_most_five_days():
    labels, hours = time_blocks([at(i) for i in range(40)])
    assert hours == pytest.approx(12.0)
    assert np.bincount(labels).tolist() == [4] * 10
    labels, hours = time_blocks([at(i) for i in range(8 * 60)])
    assert hours == 120.0
    assert np.bincount(labels).tolist() == [40] * 12
    # Whole windows: 4.8 hours hold one or two of them, by where they begin.
    labels, hours = time_blocks([at(i) for i in range(16)])
    assert hours == pytest.approx(4.8)
    assert labels.tolist() == [0, 0, 1, 1, 2, 3, 3, 4, 5, 5, 6, 6, 7, 8, 8, 9]
    # The order of windows does not matter, and nothing joins windows across a gap.
    labels, _ = time_blocks([at(800), at(0), at(1)])
    assert labels.tolist() == [20, 0, 0]


def test_a_clear_gain_is_better_and_a_clear_loss_worse():
    better, worse = series(80, 0.7), series(80, -0.7)
    entry = better.summary()["overall"]
    assert entry["verdict"] == "Better"
    assert entry["rmse_difference"]["high"] < 0 < entry["skill"]["low"]
    assert entry["skill"]["low"] < entry["skill"]["value"] < entry["skill"]["high"]
    assert entry["win_rate"]["low"] > 0.5
    assert "Verdict: Better than S/3" in told(better)
    assert worse.summary()["overall"]["verdict"] == "Worse"
    assert "Better" not in told(worse)


def test_no_verdict_where_the_interval_holds_zero():
    # The model beats S/3 in odd windows as often as it loses in even ones.
    result = EqualSplit((2, 2))
    rng = np.random.default_rng(1)
    for i in range(80):
        total = rng.gamma(1, 5, (2, 2)).astype(np.float32) + 1
        truth = np.stack([total, 0 * total, 0 * total])
        third = equal_split(total)
        model = third + (truth - third) * np.float32(rng.choice([-0.1, 0.1]))
        result.add(at(i), model, truth, total)
    entry = result.summary()["overall"]
    assert entry["rmse_difference"]["low"] < 0 < entry["rmse_difference"]["high"]
    assert entry["verdict"] == "No clear difference"
    assert "Better" not in told(result)
    assert "Worse" not in told(result)


def test_s_third_itself_is_all_ties_and_no_clear_difference():
    result = EqualSplit((3, 3))
    rng = np.random.default_rng(2)
    for i in range(30):
        truth = rng.gamma(0.5, 9, (3, 3, 3)).astype(np.float32)
        total = truth.sum(axis=0)
        result.add(at(i), equal_split(total), truth, total)
    entry = result.summary()["overall"]
    assert (entry["ties"], entry["wins"], entry["losses"]) == (entry["cells"], 0, 0)
    assert entry["skill"] == {"value": 0.0, "low": 0.0, "high": 0.0}
    assert entry["verdict"] == "No clear difference"


@pytest.mark.parametrize(("windows", "enough"), [(7, False), (8, True)])
def test_fewer_than_eight_blocks_give_no_verdict(windows, enough):
    result = series(windows, 0.9)
    found, text = result.summary(), told(result)
    assert found["blocks"] == windows
    assert (found["overall"]["verdict"] == "too few blocks") is not enough
    assert np.isfinite(found["overall"]["skill"]["low"]) == enough
    assert ("too few blocks" in text) is not enough
    assert ("Better" in text) is enough


def test_dry_blocks_are_no_evidence():
    # Forty windows in ten blocks, but rain in the first three only.
    result = series(12, 0.9)
    dry = np.zeros((3, 3, 4), np.float32)
    for i in range(12, 40):
        result.add(at(i), dry, dry, dry[0])
    assert result.summary()["blocks"] == 3
    assert result.summary()["overall"]["verdict"] == "too few blocks"


def test_intervals_are_those_of_a_bootstrap_written_out():
    result = series(40, 0.2, seed=7)
    rows = np.array(result.windows.rows)[:, 0].reshape(10, 4, 5).sum(axis=1)
    picks = np.random.default_rng(99).integers(10, size=(4000, 10))
    drawn = rows[picks].sum(axis=1)
    entry = result.summary()["overall"]
    skill = np.percentile(1 - drawn[:, 1] / drawn[:, 2], [2.5, 97.5])
    wins = np.percentile(drawn[:, 3] / drawn[:, 0], [2.5, 97.5])
    # Other draws of the same blocks: the same interval within the noise of 1,000 resamples.
    width = skill[1] - skill[0]
    assert [entry["skill"]["low"], entry["skill"]["high"]] == pytest.approx(skill, abs=0.1 * width)
    width = wins[1] - wins[0]
    found = [entry["win_rate"]["low"], entry["win_rate"]["high"]]
    assert found == pytest.approx(wins, abs=0.1 * width)


# ---------------------------------------------------------------------------- adding up, empties


def test_parts_add_to_the_whole_in_any_order():
    whole = series(24, 0.4)
    parts = [EqualSplit((3, 4)) for _ in range(2)]
    for i, window in enumerate(reversed(list(windows_of(24, 0.4)))):
        parts[i % 2].add(*window)
    summed = parts[0] + parts[1]
    a, b = summed.summary(), whole.summary()
    assert a["overall"]["wins"] == b["overall"]["wins"]
    assert a["overall"]["skill"] == pytest.approx(b["overall"]["skill"], rel=1e-12)
    assert a["by_season"]["DJF"]["rmse_difference"] == pytest.approx(
        b["by_season"]["DJF"]["rmse_difference"], rel=1e-9
    )
    grid = Grid("index", np.arange(3.0), np.arange(4.0))
    for name, values in whole.maps(grid).items():
        if name.endswith("_map"):
            np.testing.assert_allclose(summed.maps(grid)[name], values, rtol=1e-12, atol=1e-12)


def test_empty_groups_and_dry_runs_are_told_as_such():
    dry = np.zeros((3, 3, 4), np.float32)
    result = EqualSplit((3, 4), np.ones((3, 4), bool))
    result.add(T0, dry, dry, dry[0])
    text = told(result)
    found = result.summary()
    assert found["overall"]["cells"] == 0
    assert np.isnan(found["overall"]["rmse_model"])
    assert found["overall"]["verdict"] == "n/a"
    assert "Verdict: n/a" in text
    assert "nan" not in text.lower()
    for label in ("FT+4", "0.1-10", ">=100", "00", "21", "DJF", "SON", "land", "sea"):
        line = next(line for line in text.splitlines() if line.split()[:1] == [label])
        assert line.split()[1:3] == ["0", "n/a"], line
    maps = result.maps(Grid("index", np.arange(3.0), np.arange(4.0)))
    assert np.isnan(maps["mean_sse_diff_map"]).all()


def test_the_text_holds_what_was_promised():
    text = told(series(80, 0.7, land=np.arange(12).reshape(3, 4) < 5))
    for part in (
        "wins", "ties", "losses", "cells evaluated", "1 h RMSE, model", "1 h RMSE, S/3",
        "MSE skill", "win", "FT+4", "FT+5", "FT+6", "0.1-10", ">=100", "By UTC hour of t0",
        "By season of t0", "DJF", "JJA", "Land and sea", "95 % intervals", "10 blocks of 24 hours",
        "1000 resamples",
    ):  # fmt: skip
        assert part in text, part
    assert "Land and sea" not in told(series(80, 0.7))


def test_groups_have_the_difference_and_the_win_rate_with_intervals():
    result = series(80, 0.7)
    found, lines = result.summary(), told(result).splitlines()
    assert max(map(len, lines)) <= 100
    entry = found["by_season"]["DJF"]
    errors, rates = (line for line in lines if line.split()[:1] == ["DJF"])
    difference, skill, win = (entry[name] for name in ("rmse_difference", "skill", "win_rate"))
    ends = "{value:.3f} [{low:.3f}, {high:.3f}]"
    assert errors.split("  ")[-3:] == [ends.format(**difference), "+", ends.format(**skill)]
    percent = {name: 100 * value for name, value in win.items()}
    assert "{value:.1f} [{low:.1f}, {high:.1f}]".format(**percent) in rates
    few = [line for line in told(series(5, 0.7)).splitlines() if line.split()[:1] == ["DJF"]]
    assert "5 blocks" in few[0]
    assert "[" not in few[0] + few[1]
