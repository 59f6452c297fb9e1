"""`evaluate`: a model beside its baselines, on stores and on files, with any labels."""

import csv
import json
import re

import numpy as np
import pytest
from short_runs import ATLANTIC, atlantic, command

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.patterns import evaluate, train
from tenkizu.patterns.preparation import prepare
from tenkizu.patterns.verification.days import DayTable

pytestmark = pytest.mark.usefixtures("no_figures")

TEST = "2003/2003"


def read(path):
    return json.loads(path.read_text(encoding="utf-8"))


def numbers(scores):
    """All numbers of scores.json by dotted name, without those that say where they come from."""

    def walk(value, name):
        if isinstance(value, dict):
            for key, inner in value.items():
                yield from walk(inner, f"{name}.{key}")
        elif isinstance(value, list):
            for i, inner in enumerate(value):
                yield from walk(inner, f"{name}.{i}")
        elif isinstance(value, int | float):
            yield name, value

    return dict(walk(scores, ""))


def assert_same_scores(one, other, tolerance=1e-6):
    one, other = numbers(one), numbers(other)
    assert one.keys() == other.keys()
    assert len(one) > 200
    for name, value in one.items():
        assert other[name] == pytest.approx(value, abs=tolerance), name


@pytest.fixture(scope="module")
def own_scores(tiny_pattern_run):
    return read(tiny_pattern_run / "evaluation" / "test" / "scores.json")


def test_store_and_file_give_the_scores_of_the_run_itself(
    tiny_pattern_run, tiny_pattern_store, own_scores, tmp_path
):
    of_store = evaluate(tiny_pattern_run, tiny_pattern_store.path, tmp_path / "store", days=TEST)
    of_file = evaluate(tiny_pattern_run, ATLANTIC, tmp_path / "file", days=TEST)
    assert_same_scores(of_store, own_scores)
    assert_same_scores(of_file, own_scores)
    assert of_store["labels_source"] == "labels.csv"
    assert of_file["labels_source"] == "rules applied to the maps"
    for name in ("store", "file"):
        table = DayTable.from_csv(tmp_path / name / "probabilities.csv")
        own = DayTable.from_csv(tiny_pattern_run / "probabilities_test.csv")
        assert table.texts == own.texts
        np.testing.assert_allclose(table.raw, own.raw, atol=1e-5)
        np.testing.assert_array_equal(table.predicted, own.predicted)
        assert "macro F1" in (tmp_path / name / "evaluation.txt").read_text()


def test_scores_have_the_promised_keys(tiny_pattern_run, tiny_pattern_store, tmp_path):
    evaluate(tiny_pattern_run, tiny_pattern_store.path, tmp_path, days=TEST)
    scores = read(tmp_path / "scores.json")
    assert scores.keys() >= {
        "n_days", "map", "map_classes", "macro_f1", "macro_f1_provenance", "exact_match",
        "baselines", "brier", "ece", "classes",
    }  # fmt: skip
    for name in ("prevalence", "climatology", "persistence"):
        assert 0 < scores["baselines"][name]["map"] < 1
    for one in scores["classes"].values():
        assert one.keys() >= {"ap", "f1", "threshold", "status"}
    assert scores["n_days"] == 365
    table = DayTable.from_csv(tmp_path / "probabilities.csv")
    assert scores["exact_match"] == pytest.approx((table.predicted == table.truth).all(1).mean())
    assert scores["brier"] == pytest.approx(np.square(table.calibrated - table.truth).mean())


def test_several_files_share_the_days(tiny_pattern_run, own_scores, tmp_path):
    files = [
        atlantic(tmp_path / "one.nc", "2003-01-01", "2003-05-31"),
        atlantic(tmp_path / "other.nc", "2003-06-01", "2003-12-31"),
    ]
    scores = evaluate(tiny_pattern_run, files, tmp_path / "out")
    # But persistence, which knows no 31 December 2002 now, and what compares the model with it.
    for own in (scores, own_scores):
        own["baselines"] = {k: v for k, v in own["baselines"].items() if k != "persistence"}
    assert_same_scores(scores, own_scores)
    assert scores["data"] == "one.nc, other.nc"


def test_days_that_the_model_has_seen_are_in_sample(tiny_pattern_run, tiny_pattern_store, tmp_path):
    def of(days):
        return evaluate(tiny_pattern_run, tiny_pattern_store.path, tmp_path / "out", days=days)

    held_out = of(TEST)
    assert held_out["macro_f1_provenance"] == "held-out"
    assert held_out["notes"] == []
    everything = of(None)
    assert everything["n_days"] == 3 * 365
    assert everything["macro_f1_provenance"] == "in-sample"
    assert [re.match(r"365 of 1095 days \w+", note)[0] for note in everything["notes"]] == [
        "365 of 1095 days trained",
        "365 of 1095 days chose",
    ]
    # One day of the validation year is enough.
    chosen = of("2002-12-31/2003-12-31")
    assert chosen["provenance"] == "in-sample"
    assert chosen["notes"][0].startswith("1 of 366 days chose its epoch")


def test_labels_from_a_file_of_ones_own(tiny_pattern_run, tiny_pattern_store, tmp_path):
    own = DayTable.from_csv(tiny_pattern_run / "probabilities_test.csv")
    days = [i for i, row in enumerate(own.predicted) if row.sum() in (1, 2) and not row[-1]]
    texts = own.predicted_texts()
    labels = tmp_path / "mine.csv"
    with labels.open("w", newline="") as handle:
        rows = csv.writer(handle)
        rows.writerow(["date", "label"])
        rows.writerows([own.times[i].astype("datetime64[D]"), texts[i]] for i in days)
        rows.writerow(["2003-12-30", ""])
    for number, data in enumerate((tiny_pattern_store.path, ATLANTIC)):
        scores = evaluate(tiny_pattern_run, data, tmp_path / f"{number}", labels=labels)
        # The model is asked about its own decisions.
        assert scores["n_days"] == len(days) > 10
        assert scores["exact_match"] == 1.0
        assert scores["macro_f1"] == 1.0
        assert scores["labels_source"] == "mine.csv"


def test_periods_that_cannot_be_read_or_hold_no_label(
    tiny_pattern_run, tiny_pattern_store, tmp_path
):
    def refused(error, days):
        with pytest.raises(error) as failure:
            evaluate(tiny_pattern_run, tiny_pattern_store.path, tmp_path / "out", days=days)
        return str(failure.value)

    assert "--days: '2003' is not FIRST/LAST" in refused(ConfigError, "2003")
    assert "ends before it begins" in refused(ConfigError, "2003/2001")
    message = refused(DataError, "2004/2004")
    assert "no labelled day in the period" in message
    assert "found 2004/2004, expected some of 2001-01-01 to 2003-12-31" in message
    assert not (tmp_path / "out").exists()


def test_another_grid_names_both_and_where_they_differ(tiny_pattern_run, pattern_config, tmp_path):
    def north(days):
        return days.assign_coords(lat=days["lat"] + 1.0)

    file = atlantic(tmp_path / "moved.nc", "2003-01-01", "2003-01-05", north)
    with pytest.raises(DataError) as failure:
        evaluate(tiny_pattern_run, file, tmp_path / "out")
    message = str(failure.value)
    assert message.startswith("moved.nc: another grid than the model's; found 16 x 17")
    assert "expected 17 x 17" in message
    assert "latitude 0 is 68.5, not 70" in message
    coarse = prepare(pattern_config(tmp_path, data={"coarsen": 2, "store": tmp_path / "coarse"}))
    with pytest.raises(DataError, match=r"coarse: another .*8 x 8.*latitude 0 is 68.75, not 70"):
        evaluate(tiny_pattern_run, coarse.path, tmp_path / "out")


def test_labels_of_other_rules_are_not_taken_for_the_models_own(
    tiny_pattern_run, pattern_config, tmp_path
):
    other = pattern_config(
        tmp_path, data={"store": tmp_path / "other"}, labels={"centre": [50.0, -10.0]}
    )
    store = prepare(other)
    with pytest.raises(DataError, match=r"(?s)follow from other rules.*50\.0, -10\.0.*55\.0, -5"):
        evaluate(tiny_pattern_run, store.path, tmp_path / "out")
    file = tmp_path / "labels.csv"
    file.write_text("date,label\n2003-01-01,W\n2003-01-02,A\n")
    assert evaluate(tiny_pattern_run, store.path, tmp_path / "out", labels=file)["n_days"] == 2


def test_changes_history_and_anomalies_are_the_same_from_a_file(pattern_config, tmp_path):
    data = {
        "channels": ["msl", "msl_dt24", "lap_msl", "f2_season"],
        "history": ["lap_msl"], "anomaly": "climatology", "msl_unit": "hPa",
        "store": tmp_path / "store",
    }  # fmt: skip
    folder = train(pattern_config(tmp_path, data=data, train={"epochs": 1}))
    own = read(folder / "evaluation" / "test" / "scores.json")
    assert_same_scores(evaluate(folder, ATLANTIC, tmp_path / "out", days=TEST), own)


def test_an_ensemble_is_evaluated_as_it_was_trained(pattern_config, tiny_pattern_store, tmp_path):
    folder = train(pattern_config(tmp_path, train={"members": 2, "epochs": 1}))
    own = read(folder / "evaluation" / "test" / "scores.json")
    del own["members"]
    scores = evaluate(folder, tiny_pattern_store.path, tmp_path / "out", days=TEST)
    assert scores["ranking"] == own["ranking"] == "calibrated"
    assert_same_scores(scores, own)


def test_nearest_pressure_maps_are_a_baseline_where_they_are_asked_for(
    tiny_pattern_run, pattern_config, tiny_pattern_store, own_scores, tmp_path
):
    assert "knn" not in own_scores["baselines"]
    folder = train(pattern_config(tmp_path, evaluation={"knn": True}, train={"epochs": 1}))
    scores = [read(folder / "evaluation" / name / "scores.json") for name in ("validation", "test")]
    for one in scores:
        assert one["baselines"]["knn"].keys() == one["baselines"]["climatology"].keys()
        low, high = one["baselines"]["knn"]["interval"]
        assert low < one["baselines"]["knn"]["map"] < high
    # The types follow from the map: one like it says more than the season.
    knn = scores[1]["baselines"]["knn"]
    assert knn["map"] > 2 * scores[1]["baselines"]["climatology"]["map"]
    text = (folder / "evaluation" / "test" / "evaluation.txt").read_text()
    assert "knn: the types of the 30 training days nearest in standardised anomalies" in text
    assert f"knn           365  {knn['map']:.3f}" in text
    # The model folder is enough for it, also of a model that was trained without.
    code, out, err = command(
        "patterns", "evaluate", tiny_pattern_run, tiny_pattern_store.path, "-o", tmp_path / "store",
        "--days", TEST, "--knn",
    )  # fmt: skip
    assert code == 0, err
    assert re.search(rf"knn\W+{knn['map']:.3f}", out)
    of_file = evaluate(folder, ATLANTIC, tmp_path / "file", days=TEST)
    for found in (read(tmp_path / "store" / "scores.json"), of_file):
        assert found["baselines"]["knn"]["map"] == pytest.approx(knn["map"], abs=1e-6)
        assert found["baselines"]["knn"]["brier"] == pytest.approx(knn["brier"], abs=1e-6)


def test_neighbours_of_a_fold_are_of_its_own_training_days(pattern_config, tmp_path):
    splits = {"scheme": "blocked_cv", "block_years": 1}
    folder = train(
        pattern_config(
            tmp_path, data={"splits": splits}, evaluation={"knn": True}, train={"epochs": 1}
        )
    )
    # Of all folds together every day is a training day, and would find itself: AP 1.
    found = read(folder / "evaluation" / "test" / "scores.json")
    assert found["n_days"] == 3 * 365
    assert 0.3 < found["baselines"]["knn"]["map"] < 0.9


def test_two_processes_train_and_evaluate_like_one(pattern_config, tiny_pattern_store, tmp_path):
    # 320 training days: 5 steps of 64 from one process, and from two with 32 each. The 365
    # validation days do not divide by two.
    data = {
        "splits": {
            "scheme": "periods",
            "train": ["2001-01-01/2001-11-16"],
            "validation": ["2002/2002"],
            "test": [],
        }
    }
    still = {"options": {"hidden": 32, "depth": 1, "dropout": 0.0}}
    common = {"data": data, "model": still, "report": {"cases": 0}}
    one = train(pattern_config(tmp_path / "one", train={"batch_size": 64}, **common))
    two = train(pattern_config(tmp_path / "two", train={"batch_size": 32, "devices": 2}, **common))
    histories = [read(folder / "history.json") for folder in (one, two)]
    for name in ("train_loss", "val_loss", "val_map"):
        np.testing.assert_allclose(histories[1][name], histories[0][name], rtol=1e-5, err_msg=name)
    scores = [read(folder / "evaluation" / "validation" / "scores.json") for folder in (one, two)]
    assert scores[0]["n_days"] == 365
    assert_same_scores(scores[1], scores[0], tolerance=1e-4)
    assert (two / "run.rank1.log").stat().st_size > 0
