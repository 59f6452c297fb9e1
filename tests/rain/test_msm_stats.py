"""`stats` against the same quantities by brute force, and on the full MSM data where it is."""

import json
import os
from pathlib import Path

import numpy as np
import pytest
import typer
from msm_months import make_maps, month_of, write_maps
from msm_store import write_msm_store
from PIL import Image
from typer.testing import CliRunner

from tenkizu.core.errors import DataError
from tenkizu.core.verification import Tally
from tenkizu.rain.msm.cli_data import stats as stats_command
from tenkizu.rain.msm.pieces import Piece, find_pieces
from tenkizu.rain.msm.statistics import piece_tally, stats, summarise

TIMES = np.concatenate([month_of("2018-07")[-20:], month_of("2018-08", 30)])
HOURS = ("Prec_Target_ft4", "Prec_Target_ft5", "Prec_Target_ft6")
EDGES = [0, 1, 5, 10, 20, 30, 50, np.inf]
SUM_EDGES = [0, 2, 10, 20, 40, 60, 100, np.inf]


def write_two_months(folder):
    """Two files, one with a cell that is always missing; the hours (3, n) and S (n,) of all."""
    maps = make_maps(TIMES, seed=8)
    for name in ("Prec_4_6h_sum", *HOURS):
        maps[name] *= np.float32(7.3)  # so that every bin is filled, and no number is a round one
    for name in ("Prec_4_6h_sum", HOURS[1]):
        maps[name][:20, 3, 4] = np.nan
    early = np.datetime64("2018-08") > TIMES
    for name, which in (("201807", early), ("201808", ~early)):
        part = {key: values[which] for key, values in maps.items()}
        write_maps(folder / f"{name}.nc", TIMES[which], part)
    planes = np.stack([maps[name].ravel() for name in (*HOURS, "Prec_4_6h_sum")]).astype(float)
    planes = planes[:, ~np.isnan(planes).any(axis=0)]
    return planes[:3], planes[3]


@pytest.fixture(scope="module")
def months(tmp_path_factory):
    folder = tmp_path_factory.mktemp("months")
    return folder, *write_two_months(folder)


def by_brute_force(hours, total):
    deviation, spread = hours.std(axis=0), np.ptp(hours, axis=0)
    errors = hours - total / 3
    return {
        "cells": total.size,
        "deviation_mm": {
            "mean": deviation.mean(),
            "std": deviation.std(),
            "max": deviation.max(),
        },
        "range_mm": {"mean": spread.mean(), "std": spread.std(), "max": spread.max()},
        "range_within": {
            f"{limit:g}": np.mean(spread <= limit) for limit in (0.0, 0.1, 0.5, 1.0, 2.0)
        },
        "errors_mm": {
            f"ft{k}": {
                "mae": np.abs(e).mean(),
                "rmse": np.sqrt((e**2).mean()),
                "bias": e.mean(),
                "max": np.abs(e).max(),
            }
            for k, e in zip((4, 5, 6), errors, strict=True)
        },
        "correlation": {
            f"ft{i + 4}, ft{j + 4}": np.corrcoef(hours[i], hours[j])[0, 1]
            for i, j in ((0, 1), (0, 2), (1, 2))
        },
    }


def compare(found, expected):
    for key, value in expected.items():
        if isinstance(value, dict):
            compare(found[key], value)
        else:
            assert found[key] == pytest.approx(value, rel=1e-10, abs=1e-13), key


def test_every_quantity_is_exact(months):
    folder, hours, total = months
    tally = sum(map(piece_tally, find_pieces([folder])), Tally())
    summary = summarise(tally)
    wet = (hours > 0).all(axis=0)
    assert wet.sum() > 100
    compare(summary["all"], by_brute_force(hours, total) | {"share": 1.0})
    expected = by_brute_force(hours[:, wet], total[wet]) | {"share": wet.mean()}
    compare(summary["all_wet"], expected)
    assert summary["initial_times"] == len(TIMES)
    assert summary["hourly"]["counts"] == np.histogram(hours, EDGES)[0].tolist()
    assert summary["totals"]["counts"] == np.histogram(total, SUM_EDGES)[0].tolist()
    for hour, values in zip(("ft4", "ft5", "ft6"), hours, strict=True):
        counts = summary["hourly"]["counts_by_hour"][hour]
        assert counts == np.histogram(values, EDGES)[0].tolist()
    assert summary["hourly"]["share_at_least"]["1"] == pytest.approx(np.mean(hours >= 1))
    kinds = (hours > 0).T @ [4, 2, 1]
    assert summary["wet_patterns"] == {f"{c:03b}": int((kinds == c).sum()) for c in range(8)}
    count = (hours > 0).sum(axis=0)
    assert summary["wet_hours"] == {str(k): int((count == k).sum()) for k in range(4)}


def test_weights_follow_the_rules_of_the_loss(months):
    folder, hours, _ = months
    weights = summarise(sum(map(piece_tally, find_pieces([folder])), Tally()))["weights"]["hourly"]
    counts = np.histogram(hours, EDGES)[0]
    assert counts.all()
    raw = 1 / (counts / counts.sum() + 1e-6)
    assert weights["inverse_frequency"] == pytest.approx((raw / raw.min()).clip(1, 100))
    assert weights["power"] == pytest.approx(np.sqrt(counts.max() / counts).clip(1, 1000))


def test_bins_without_a_value_give_no_weight(tmp_path):
    times = month_of("2018-07", 1)
    maps = make_maps(times)
    for name, value in zip((*HOURS, "Prec_4_6h_sum"), (0.5, 0.25, 0.25, 1.0), strict=True):
        maps[name][:] = value
    summary = summarise(piece_tally(Piece(write_maps(tmp_path / "201807.nc", times, maps))))
    assert summary["all"]["range_within"] == {"0": 0, "0.1": 0, "0.5": 1, "1": 1, "2": 1}
    assert summary["weights"]["hourly"] == {"inverse_frequency": None, "power": None}


def test_command_writes_json_markdown_and_figures(months, tmp_path):
    app = typer.Typer()
    app.command()(stats_command)
    folder, hours, total = months
    result = CliRunner().invoke(app, [str(folder), "-o", str(tmp_path), "--workers", "1"])
    assert result.exit_code == 0, result.output
    written = json.loads((tmp_path / "stats.json").read_text())
    compare(written["all"], by_brute_force(hours, total))
    text = (tmp_path / "stats.md").read_text()
    share = 100 * np.mean((hours > 0).all(axis=0))
    assert f"({share:.2f} %)" in text
    assert f"{np.histogram(hours, EDGES)[0][3]:,}" in text
    at_least = 100 * np.mean(hours >= 1)
    assert f"Hours of at least 1 mm: {at_least:.4f} %, 5 mm: " in text
    wet = (hours > 0).sum(axis=0)
    partly = 100 * np.mean(wet[wet > 0] < 3)
    assert f"{partly:.2f} % of rainy cell-times have one or two wet hours" in text
    only_second = (hours[0] == 0) & (hours[1] > 0) & (hours[2] == 0)
    assert f"| 5 | {only_second.sum():,} | {100 * only_second.mean():.2f} |" in text
    outer = (hours[0] > 0) & (hours[1] == 0) & (hours[2] > 0)
    assert f"| 4, 6 | {outer.sum():,} | {100 * outer.mean():.2f} |" in text
    for name in ("amounts.png", "wet_patterns.png", "range.png"):
        assert f"({name})" in text
        with Image.open(tmp_path / name) as picture:
            assert picture.width == 1600


def test_a_store_gives_the_same_as_its_arrays(tmp_path):
    store = write_msm_store(tmp_path / "store", n=False)
    rain = np.concatenate(
        [np.load(store.path / b["file"]) for b in store.meta["arrays"]["rain"]["blocks"]]
    )
    planes = rain.transpose(1, 0, 2, 3).reshape(5, -1).astype(float)
    summary = summarise(sum(map(piece_tally, find_pieces([store.path])), Tally()))
    compare(summary["all"], by_brute_force(planes[1:4], planes[4]))


def test_a_damaged_file_is_named(tmp_path, monkeypatch):
    def here(function, tasks, workers, scheduler):
        yield 0, function(tasks[0])

    monkeypatch.setattr("tenkizu.rain.msm.statistics.run_tasks", here)
    (tmp_path / "201807.nc").write_bytes(b"\x89HDF\r\n\x1a\n" + b"\0" * 100)
    with pytest.raises(DataError, match=r"201807\.nc"):
        stats([tmp_path], tmp_path / "out", workers=1)


FULL = os.environ.get("TENKIZU_MSM_MONTHLY")


@pytest.mark.slow
@pytest.mark.skipif(not FULL, reason="TENKIZU_MSM_MONTHLY names no folder of 2018-2023")
@pytest.mark.timeout(12 * 3600)
def test_full_data_2018_to_2023(tmp_path):
    """The published table: wet counts exactly, moments to its digits, bins within 1 %."""
    summary = stats([Path(str(FULL))], tmp_path)
    assert summary["initial_times"] == 17_528
    assert summary["all"]["cells"] == 4_038_451_200
    assert summary["all_wet"]["cells"] == 598_928_672
    expected = {
        "all": {
            "deviation_mm": (0.0933, 0.5032, 99.54),
            "range_mm": (0.2148, 1.1564, 223.25),
            "range_within": (0.7330, 0.8451, 0.9169, 0.9475, 0.9726),
            "ft4": (0.0951, 0.5588, 0.0007, 139.92),
            "ft5": (0.0644, 0.4067, -0.0001, 129.50),
            "ft6": (0.0950, 0.5549, -0.0006, 129.42),
            "correlation": (0.686, 0.477, 0.690),
        },
        "all_wet": {
            "deviation_mm": (0.5061, 1.1294, 99.54),
            "range_mm": (1.1739, 2.6061, 223.25),
            "range_within": (0.0303, 0.2774, 0.5581, 0.7083, 0.8423),
            "ft4": (0.5094, 1.3297, -0.0192, 139.92),
            "ft5": (0.3539, 1.0011, 0.0372, 129.50),
            "ft6": (0.5126, 1.3508, -0.0180, 129.42),
            "correlation": (0.670, 0.444, 0.662),
        },
    }
    for population, quantities in expected.items():
        for name, values in quantities.items():
            part = summary[population]
            found = part[name] if name in part else part["errors_mm"][name]
            for value, number in zip(found.values(), values, strict=True):
                digits = 2 if number > 50 else 3 if name == "correlation" else 4
                assert value == pytest.approx(number, abs=0.51 * 10**-digits), (population, name)
    hourly = [11_617_353_737, 419_108_337, 57_722_776, 17_371_480, 2_505_170, 1_011_650, 280_450]
    totals = [3_802_669_186, 190_532_508, 32_200_570, 10_603_498, 1_706_796, 605_853, 132_789]
    assert summary["hourly"]["counts"] == pytest.approx(hourly, rel=0.01)
    assert summary["totals"]["counts"] == pytest.approx(totals, rel=0.01)
    assert 100 * summary["wet_hours_share"]["0"] == pytest.approx(72.85, abs=0.005)
    partly = summary["wet_hours_share"]["1"] + summary["wet_hours_share"]["2"]
    assert 100 * partly == pytest.approx(12.32, abs=0.005)
    assert 100 * summary["hourly"]["share_at_least"]["1"] == pytest.approx(4.11, abs=0.005)
