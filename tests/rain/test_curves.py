import math

import numpy as np
import pytest
from matplotlib.image import imread

from tenkizu.core import charts
from tenkizu.rain.curves import CAPTIONS, draw_epoch_curves

METRICS = (
    "probability_of_detection",
    "success_ratio",
    "critical_success_index",
    "equitable_threat_score",
    "frequency_bias",
    "f1_score",
    "accuracy",
)


@pytest.fixture
def figures(monkeypatch):
    """The figures made during a test, by file name; to save time they are not written."""
    kept = {}

    def keep(figure, path):
        kept[path.name.removesuffix("_over_epochs.png")] = figure
        return path

    monkeypatch.setattr(charts, "save_figure", keep)
    return kept


def record(value):
    """Scores of one epoch, all made from one number; 50 mm never occurs."""
    binary = {
        "0.1": dict.fromkeys(METRICS, value),
        "1": dict.fromkeys(METRICS, value / 2) | {"success_ratio": None},
        "50": dict.fromkeys(METRICS, None) | {"accuracy": 1.0},
    }
    return {
        "binary_hourly": binary,
        "categories_hourly": {
            "accuracy": value,
            "precision": [value, value / 2, None],
            "recall": [value, value / 4, math.nan],
            "edges_mm": [0.0, 5.0, 10.0],
        },
        "wet_hours_accuracy": value,
        "wet_pattern_accuracy": value / 2,
        "rmse_1h": {"model": 1 - value, "equal": 1.0},
    }


def lines(ax):
    """Curves by label, the reference lines left out."""
    return {
        line.get_label(): line.get_ydata()
        for line in ax.lines
        if not str(line.get_label()).startswith("_")
    }


HOURLY = [name for name in CAPTIONS if "sum" not in name]


def test_one_figure_for_each_family_of_hourly_scores(tmp_path, figures):
    history = {"epoch": [1, 2, 3], "scores": [record(0.2), record(0.4), record(0.5)]}
    written = draw_epoch_curves(tmp_path, history | {"best_epoch": 2})
    assert [path.name for path in written] == [f"{name}_over_epochs.png" for name in HOURLY]
    assert set(HOURLY) == {
        "binary_hourly_metrics",
        "categorical_hourly_overall_accuracy",
        "categorical_hourly_perclass_precision",
        "categorical_hourly_perclass_recall",
        "rmse_1h_baseline",
        "wet_hour_pattern_accuracy",
    }
    for figure in figures.values():
        assert "best epoch 2" in figure.get_suptitle()
        assert figure.axes[0].get_xlim() == (0.5, 3.5)

    panels = {ax.get_title(loc="left"): ax for ax in figures["binary_hourly_metrics"].axes[:7]}
    assert list(panels)[:2] == ["POD (recall)", "success ratio (precision)"]
    pod = lines(panels["POD (recall)"])
    assert list(pod) == ["≥ 0.1 mm", "≥ 1 mm", "≥ 50 mm, undefined"]
    np.testing.assert_allclose(pod["≥ 1 mm"], [0.1, 0.2, 0.25])
    np.testing.assert_allclose(lines(panels["accuracy"])["≥ 50 mm"], 1.0)
    (rmse,) = figures["rmse_1h_baseline"].axes
    np.testing.assert_allclose(lines(rmse)["model"], [0.8, 0.6, 0.5])
    np.testing.assert_allclose(lines(rmse)["equal split S/3"], 1.0)
    assert rmse.get_title(loc="left") == "RMSE (mm)"
    (precision,) = figures["categorical_hourly_perclass_precision"].axes
    assert list(lines(precision)) == ["0 to 5 mm", "5 to 10 mm", "≥ 10 mm, undefined"]


def test_figures_are_complete_files_of_even_size(tmp_path):
    scores = {key: record(0.2)[key] for key in ("binary_hourly", "rmse_1h")}
    written = draw_epoch_curves(tmp_path, {"epoch": [1, 2], "scores": [scores, scores]})
    assert len(written) == 2
    assert sorted(tmp_path.iterdir()) == sorted(written)
    for path in written:
        height, width = imread(path).shape[:2]
        assert (width, height % 2) == (1600, 0)


def test_epochs_without_scores_leave_gaps(tmp_path, figures):
    history = {"epoch": [5, 6, 7, 8], "scores": [record(0.2), None, record(0.4)]}
    draw_epoch_curves(tmp_path, history)
    (ax,) = figures["categorical_hourly_overall_accuracy"].axes
    assert ax.get_xlim() == (4.5, 8.5)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), [0.2, np.nan, 0.4, np.nan])
    assert "best" not in figures["rmse_1h_baseline"].get_suptitle()


def test_one_epoch_is_drawn_as_points(tmp_path, figures):
    written = draw_epoch_curves(tmp_path, {"epoch": [1], "scores": [record(0.3)], "best_epoch": 1})
    assert len(written) == 6
    (ax,) = figures["wet_hour_pattern_accuracy"].axes
    assert ax.get_xlim() == (0.5, 1.5)
    assert [t for t in ax.get_xticks() if 0.5 <= t <= 1.5] == [1.0]
    assert all(line.get_marker() == "o" for line in ax.lines if len(line.get_ydata()) == 1)


def test_a_family_that_is_never_defined_says_so(tmp_path, figures):
    dry = record(0.3)
    dry["rmse_1h"] = {"model": None, "equal": None}
    draw_epoch_curves(tmp_path, {"epoch": [1], "scores": [dry]})
    (ax,) = figures["rmse_1h_baseline"].axes
    assert [t.get_text() for t in ax.texts] == ["undefined in every epoch"]


def test_possible_scores_only_on_the_axes(tmp_path, figures):
    draw_epoch_curves(tmp_path, {"epoch": [1, 2], "scores": [record(0.0), record(1.0)]})
    (ax,) = figures["categorical_hourly_overall_accuracy"].axes
    assert -0.05 < ax.get_ylim()[0] < 0


@pytest.mark.parametrize(
    "history",
    [
        {},
        {"epoch": [], "scores": []},
        {"epoch": [1, 2]},
        {"epoch": [1, 2], "scores": None},
        {"epoch": [1, 2], "scores": [None, None]},
    ],
)
def test_a_history_without_scores_gives_no_figure(tmp_path, history):
    assert draw_epoch_curves(tmp_path, history) == []
    assert list(tmp_path.iterdir()) == []
