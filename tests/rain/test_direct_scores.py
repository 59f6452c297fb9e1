"""A short training of a direct head: what is said of hours that need not add to the total."""

import json

import numpy as np
import pytest
import xarray as xr
from option_networks import changed

from report_page import Page
from tenkizu.rain import predict, train
from tenkizu.rain.curves import CAPTIONS


@pytest.fixture(scope="module")
def run(tiny_config_in, tiny_store, tmp_path_factory):
    """The run folder of two epochs."""
    config = changed(
        tiny_config_in(tmp_path_factory.mktemp("runs")),
        data__store=str(tiny_store.path),
        model__head="direct",
        model__prior="none",
        scores__fss_windows=[],
        plots__cases=0,
    )
    return train(config)


def read(path):
    return json.loads(path.read_text())


def test_every_epoch_records_its_sums_and_all_curves_are_drawn(run):
    history = read(run / "history.json")
    assert len(history["scores"]) == 2
    for record in history["scores"]:
        assert list(record["binary_sum"]) == ["0.2", "2", "10", "20", "40", "60", "100"]
        assert record["categories_sum"]["edges_mm"] == [0, 10, 20, 40, 60, 100]
        assert record["rmse_sum"]["model"] > 0
    drawn = {p.name.removesuffix("_over_epochs.png") for p in run.glob("*_over_epochs.png")}
    assert drawn == set(CAPTIONS)


def test_the_best_epoch_and_the_evaluation_count_the_same_sums(run):
    history = read(run / "history.json")
    record = history["scores"][history["epoch"].index(history["best_epoch"])]
    scores = read(run / "evaluation/validation/scores.json")
    assert scores["conserves"] is False
    for name in ("rmse_sum", "mae_sum", "rmse_sum_conditional"):
        assert record[name]["model"] == pytest.approx(scores[name]["model"], rel=1e-4)
    evaluated = scores["binary_sum"]["model"]["2"]
    seen = [table["hits"] + table["misses"] for table in (record["binary_sum"]["2"], evaluated)]
    assert seen[0] == seen[1] > 0
    model = scores["categories_sum"]["model"]["all"]
    assert record["categories_sum"]["support"] == model["support"]
    assert record["peak_hour_accuracy"] == pytest.approx(
        scores["peak_hour"]["model"]["accuracy"], abs=0.02
    )
    assert record["skill_by_season"]["JJA"]["cells"] == scores["n_cells_conditional"]
    assert record["skill_by_amount"]["0.1-10"]["cells"] > 0


def test_the_error_of_the_sum_is_that_of_its_predictions(
    run, tiny_rain, write_rain, tmp_path, command
):
    file = write_rain(tmp_path / "day.nc", tiny_rain[48:72], np.datetime64("2023-06-01T01:00"))
    code, said, _ = command("rain", "evaluate", run, file, "-o", tmp_path / "out")
    assert code == 0
    with xr.open_dataset(predict(run, file, tmp_path / "hours.nc")) as hours:
        summed = hours.rain_1h.values.reshape(8, 3, 24, 32).sum(axis=1, dtype=np.float64)
    total = tiny_rain[48:72].reshape(8, 3, 24, 32).sum(axis=1, dtype=np.float64)
    rmse = np.sqrt(((summed - total) ** 2).mean())
    scores = read(tmp_path / "out/scores.json")
    assert scores["rmse_sum"]["model"] == pytest.approx(rmse, rel=1e-4)
    # What is printed does not claim that the hours add up.
    said = " ".join(said.split())
    assert f"hours need not add to S: their sum is off by an RMSE of {rmse:.3f} mm" in said
    text = (tmp_path / "out/evaluation.txt").read_text()
    for title in ("3-hour sums of the model", "Events of 3-hour sums", "Classes of 3-hour sums"):
        assert title in text
    assert f"{rmse:.3f}" in text


def test_the_report_says_so_too_and_shows_the_sums(run):
    page = Page(run / "report/index.html")
    assert "test: the model's hours need not add to S" in page.text
    assert "add to S within" not in page.text
    assert "3-hour sums" in page.headings
    scores = read(run / "evaluation/test/scores.json")
    row = ["all cells", *(f"{scores[name]['model']:.3f}" for name in ("rmse_sum", "mae_sum"))]
    assert row in page.rows
    assert sum("RMSE of the 3-hour sum" in figure for figure in page.figures) == 1


def test_the_first_step_logs_its_loss_and_gradient_norm(run):
    log = (run / "run.log").read_text()
    assert log.count("first loss") == 1
    assert log.count("first gradient norm") == 1
    norm = float(log.partition("first gradient norm ")[2].split()[0])
    assert 0 < norm < np.inf
