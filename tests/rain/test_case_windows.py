"""Which windows of an evaluation are kept to be drawn."""

import numpy as np

from tenkizu.rain.case_windows import CaseWindows

T0 = np.datetime64("2023-06-01T00:00", "m")


def chosen(count, windows):
    """Hours since the first window of each kind kept; windows are (mm in every cell, skill)."""
    kept = CaseWindows(count)
    for i, (amount, skill) in enumerate(windows):
        total = np.full((10, 20), 3 * amount, np.float32)
        hours = np.stack([total / 3] * 3)
        kept.offer(T0 + np.timedelta64(3 * i, "h"), hours, total, hours * 2, skill)
    return {
        kind: [int((case.start - T0) / np.timedelta64(3, "h")) for case in cases]
        for kind, cases in kept.chosen().items()
    }


def test_the_heaviest_the_best_and_the_worst_each_ranked():
    skills = [0.1, 0.5, -0.3, 0.7, 0.2, -0.9, 0.4]
    windows = [(10 - i, skill) for i, skill in enumerate(skills)]
    assert chosen(2, windows) == {"heaviest": [0, 1], "best": [3, 1], "worst": [5, 2]}


def test_windows_with_little_rain_are_not_ranked_by_skill():
    # 0.2 mm an hour everywhere is less than 1 mm in three; no skill is defined in the last.
    windows = [(5, 0.1), (0.2, 0.9), (0.2, -9.0), (4, 0.3), (3, np.nan)]
    assert chosen(1, windows) == {"heaviest": [0], "best": [3], "worst": [0]}


def test_one_cell_in_a_hundred_with_a_millimetre_is_enough():
    kept = CaseWindows(1)
    for cells in (1, 2):
        total = np.zeros((10, 20), np.float32)
        total[0, :cells] = 1
        kept.offer(T0 + np.timedelta64(cells, "h"), np.stack([total] * 3), total, total, 0.5)
    assert [case.start for case in kept.chosen()["best"]] == [T0 + np.timedelta64(2, "h")]


def test_of_few_windows_none_is_both_best_and_worst():
    windows = [(1, 0.3), (2, 0.1), (3, 0.2)]
    assert chosen(6, windows) == {"heaviest": [2, 1, 0], "best": [0, 2], "worst": [1]}
    assert chosen(6, windows[:1]) == {"heaviest": [0], "best": [0], "worst": []}


def test_no_more_windows_are_held_than_asked_for():
    rng = np.random.default_rng(3)
    skills = rng.normal(size=60)
    found = chosen(4, [(1 + i % 7, skill) for i, skill in enumerate(skills)])
    assert found["best"] == np.argsort(-skills)[:4].tolist()
    assert found["worst"] == np.argsort(skills)[:4].tolist()
    assert chosen(0, [(1, 0.5)]) == {"heaviest": [], "best": [], "worst": []}


def test_what_is_kept_does_not_change_with_the_arrays_that_were_offered():
    kept, total = CaseWindows(1), np.full((2, 2), 3.0, np.float32)
    truth = np.stack([total / 3] * 3)
    kept.offer(T0, truth, total, truth * 2, 0.5)
    truth[:] = 0
    (case,) = kept.chosen()["heaviest"]
    assert (case.truth == 1).all()
    assert case.skill == 0.5
