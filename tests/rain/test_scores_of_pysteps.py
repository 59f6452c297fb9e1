"""What pysteps 1.21.5 gives for linear interpolation on IMERG of 2-3 November, all 16 windows.

It is compiled when it is installed, so its numbers stand here. Its FSS counts neighbourhoods that
reach over the border as dry beyond it, so the fields got a dry border of 60 cells. Its events are
above the threshold, so it got the next smaller numbers.
"""

import numpy as np
import pytest

from tenkizu.core.samples import input_path
from tenkizu.core.verification import Tally
from tenkizu.rain.baselines import equal_split, linear_split
from tenkizu.rain.fss import fss_tally
from tenkizu.rain.hourly import iterate_windows, open_rain, window_starts
from tenkizu.rain.scores import summarise, window_tally

THRESHOLDS, SIDES = [1.0, 5.0, 10.0], [1, 9, 41]
FSS = [
    [0.780270889879, 0.917503319417, 0.969444941377],
    [0.692655921896, 0.889592527833, 0.960660487117],
    [0.589359668684, 0.827769011500, 0.887634892559],
]
EVENTS = {
    "probability_of_detection": [0.835039481105, 0.651423441908, 0.482482830566],
    "false_alarm_ratio": [0.267755576438, 0.260539187143, 0.242940935752],
    "critical_success_index": [0.639708344585, 0.529819145164, 0.417795844625],
    "equitable_threat_score": [0.597419593013, 0.518414367987, 0.414645835958],
    "frequency_bias": [1.140383530739, 0.880943831752, 0.637312005564],
}


@pytest.fixture(scope="module")
def split():
    file = input_path("sample:imerg_sbrazil_hourly_20231102_03.nc")
    series = open_rain(file)
    windows = iterate_windows(series, window_starts(series))
    return [(w, linear_split(w.previous, w.total, w.following)) for w in windows]


def test_the_fractions_skill_score_is_that_of_pysteps(split):
    tally = Tally()
    for window, hours in split:
        frame = [(0, 0), (60, 60), (60, 60)]
        given, truth = np.pad(hours, frame), np.pad(window.hours, frame)
        total = np.pad(window.total, 60)
        tally = tally + fss_tally({"linear": given}, truth, total, THRESHOLDS, SIDES)
    products, squares = tally["fss.linear"], tally["fss_truth"]
    np.testing.assert_allclose(2 * products[1] / (squares + products[0]), FSS, rtol=1e-11)


def test_the_scores_of_events_are_those_of_pysteps(split):
    tally = Tally()
    for window, hours in split:
        methods = {"linear": hours, "equal": equal_split(window.total)}
        tally = tally + window_tally(methods, window.hours, window.total, THRESHOLDS, THRESHOLDS)
    found = summarise(tally, ["linear", "equal"], THRESHOLDS, THRESHOLDS)
    pooled = found["binary_hourly"]["linear"]["pooled"]
    for name, expected in EVENTS.items():
        given = [one[name] for one in pooled.values()]
        np.testing.assert_allclose(given, expected, rtol=1e-11, err_msg=name)
