"""Scores of hourly splits by group of cells, and of the order of the hours."""

import numpy as np
import pytest
from score_fields import CATEGORIES, METHODS, THRESHOLDS, WINDOWS, one_cell

from tenkizu.core.verification import Tally
from tenkizu.rain.scores import HOURS, summarise, window_tally

# ---------------------------------------------------------------------------- groups


def tallies_with_time(fields, starts, land=None):
    for i, start in enumerate(starts):
        methods = {"model": fields.model[i], "equal": fields.equal[i]}
        yield window_tally(
            methods,
            fields.truth[i],
            fields.total[i],
            THRESHOLDS,
            CATEGORIES,
            start=start,
            land=land,
        )


def test_skill_by_group_agrees_with_plain_masks(fields):
    land = np.random.default_rng(6).random((12, 14)) < 0.4
    # t0 is three hours earlier: 21 UTC of 28 February, then 03, 09, ... in March and in June.
    first = np.datetime64("2023-03-01T00:00", "m")
    starts = [first + np.timedelta64(h, "h") for h in (0, 6, 12, 18, 24, 24 * 95, 24 * 95 + 6)]
    total = sum(tallies_with_time(fields, starts, land), Tally())
    found = summarise(total, METHODS, THRESHOLDS, CATEGORIES)

    def check(entry, keep):
        """Compare with cells kept by (window, total)."""
        sse = {name: 0.0 for name in METHODS}
        cells = 0
        for i in range(WINDOWS):
            chosen = fields.wet[i] & keep(i, fields.total[i])
            cells += chosen.sum()
            for name in METHODS:
                error = getattr(fields, name)[i].astype(np.float64) - fields.truth[i]
                sse[name] += (error**2).sum(axis=0)[chosen].sum()
        assert entry["cells"] == cells
        expected = 1 - sse["model"] / sse["equal"] if cells else np.nan
        assert entry["skill"] == pytest.approx(expected, nan_ok=True, rel=1e-9)

    bins = [np.float32(0.1), 10, 20, 40, 60, 100, np.inf]
    amounts = found["skill_by_amount"]["model"]
    assert list(amounts) == ["0.1-10", "10-20", "20-40", "40-60", "60-100", ">=100"]
    for entry, low, high in zip(amounts.values(), bins, bins[1:], strict=False):
        check(entry, lambda _, s, low=low, high=high: (s >= low) & (s < high))
    hours = found["skill_by_hour_of_day"]["model"]
    assert list(hours) == ["00", "03", "06", "09", "12", "15", "18", "21"]
    for label, entry in hours.items():
        mine = {i for i in range(WINDOWS) if (starts[i].item().hour - 3) % 24 == int(label)}
        check(entry, lambda i, s, mine=mine: np.full(s.shape, i in mine))
    seasons = found["skill_by_season"]["model"]
    for label, members in {"DJF": {0}, "MAM": {1, 2, 3, 4}, "JJA": {5, 6}, "SON": set()}.items():
        check(seasons[label], lambda i, s, mine=members: np.full(s.shape, i in mine))
    surfaces = found["skill_by_surface"]["model"]
    check(surfaces["land"], lambda *_: land)
    check(surfaces["sea"], lambda *_: ~land)
    assert set(found["skill_by_amount"]["equal"]["10-20"]) == {"skill", "cells"}
    assert found["skill_by_amount"]["equal"]["10-20"]["skill"] == 0.0
    for group in ("amount", "hour_of_day", "season", "surface"):
        counts = [entry["cells"] for entry in found[f"skill_by_{group}"]["model"].values()]
        assert sum(counts) == found["n_cells_conditional"], group


def test_skill_and_mae_per_hour(fields, scores):
    for suffix, cells in (("", fields.valid), ("_conditional", fields.wet)):
        for k, hour in enumerate(HOURS):
            model, equal = (
                (getattr(fields, m)[:, k].astype(np.float64) - fields.truth[:, k])[cells]
                for m in METHODS
            )
            found = scores[f"mse_skill_per_hour{suffix}"]["model"][hour]
            assert found == pytest.approx(1 - (model**2).sum() / (equal**2).sum(), rel=1e-9)
            mae = scores[f"mae_per_hour{suffix}"]["model"][hour]
            assert mae == pytest.approx(np.abs(model).mean(), rel=1e-9)


def test_without_a_start_or_a_mask_there_are_no_such_groups(scores):
    assert "skill_by_amount" in scores
    assert not {"skill_by_hour_of_day", "skill_by_season", "skill_by_surface"} & scores.keys()


# ---------------------------------------------------------------------------- wet hours and peaks


@pytest.mark.parametrize("method", METHODS)
def test_wet_hours_and_patterns_agree_with_crosstables(fields, scores, method):
    wet_truth, wet_model = (
        np.moveaxis(f >= np.float32(0.1), 1, -1) for f in (fields.truth, getattr(fields, method))
    )
    for label, cells in (("all", fields.valid), ("conditional", fields.wet)):
        table = np.zeros((4, 4), int)
        for t, p in zip(wet_truth[cells].sum(-1), wet_model[cells].sum(-1), strict=True):
            table[t, p] += 1
        found = scores["wet_hours"][method][label]
        assert found["confusion_truth_by_prediction"] == table.tolist()
        assert found["accuracy"] == pytest.approx(np.trace(table) / cells.sum())
    table = np.zeros((8, 8), int)
    for t, p in zip(
        wet_truth[fields.wet] @ [4, 2, 1], wet_model[fields.wet] @ [4, 2, 1], strict=True
    ):
        table[t, p] += 1
    found = scores["wet_pattern"][method]
    assert found["confusion_truth_by_prediction"] == table.tolist()
    assert found["accuracy"] == pytest.approx(np.trace(table) / fields.wet.sum())


@pytest.mark.parametrize("method", METHODS)
def test_the_peak_hour_agrees_with_argmax_where_the_truth_has_one(fields, scores, method):
    truth, model = (
        np.moveaxis(f, 1, -1)[fields.wet] for f in (fields.truth, getattr(fields, method))
    )
    ordered = np.sort(truth.astype(np.float64), axis=-1)
    single = ordered[:, 2] - ordered[:, 1] > 1e-6
    table = np.zeros((3, 3), int)
    np.add.at(table, (truth[single].argmax(-1), model[single].argmax(-1)), 1)
    found = scores["peak_hour"][method]
    assert found["confusion_truth_by_prediction"] == table.tolist()
    assert found["ties_left_out"] == (~single).sum() > 0
    assert found["accuracy"] == pytest.approx(np.trace(table) / single.sum())


def test_peaks_closer_than_a_millionth_of_a_mm_are_ties():
    truth = [[1, 1, 1], [1 + 5e-7, 1 + 4e-6, 0.2], [0, 0, 0.3]]
    result = one_cell(truth, truth)["peak_hour"]["model"]
    assert result["ties_left_out"] == 1
    assert result["confusion_truth_by_prediction"] == [[1, 0, 0], [0, 1, 0], [0, 0, 0]]


def test_the_wet_limit_can_be_moved():
    truth = np.float32([[[0.3]], [[0.1]], [[2.0]]])
    methods = {"model": truth[::-1], "equal": truth}
    tally = window_tally(methods, truth, truth.sum(0), [1], [5], wet_hour_mm=0.3)
    found = summarise(tally, METHODS, [1], [5])["wet_pattern"]["model"]
    # Wet at 0.3 mm: truth 101, and backwards in time 101 as well.
    assert np.argwhere(found["confusion_truth_by_prediction"]).tolist() == [[5, 5]]
