"""Random and single cells of rain, scored: what the tests of scores share."""

import numpy as np

from tenkizu.core.verification import Tally
from tenkizu.rain.baselines import equal_split
from tenkizu.rain.config import ScoresConfig
from tenkizu.rain.scores import summarise, window_tally

THRESHOLDS = ScoresConfig().thresholds_1h
CATEGORIES = ScoresConfig().categories_1h
METHODS = ("model", "equal")
WINDOWS = 7


class Fields:
    """Random rain of several windows; every value a multiple of 0.1 mm, so thresholds are hit."""

    def __init__(self, seed=0, masked=0.1):
        rng = np.random.default_rng(seed)
        shape = (WINDOWS, 3, 12, 14)
        wet = rng.random(shape) < 0.45
        self.truth = np.where(wet, rng.gamma(0.5, 14.0, shape).round(1), 0).astype(np.float32)
        noise = rng.lognormal(0, 0.5, shape)
        shifted = 0.7 * self.truth + 0.3 * np.roll(self.truth, 1, axis=3)
        self.model = (shifted * noise).round(1).astype(np.float32)
        self.total = self.truth.sum(axis=1, dtype=np.float64).astype(np.float32)
        hidden = rng.random(self.total.shape) < masked
        self.total[hidden] = np.nan
        # Some cells miss one hour only, as a total from another source would leave them.
        self.truth[:, 0][hidden] = np.nan
        self.truth[0, 2, 3, :4] = np.nan
        self.equal = np.stack([equal_split(s) for s in self.total])
        self.valid = ~np.isnan(self.total) & ~np.isnan(self.truth).any(axis=1)
        self.wet = self.valid & (self.total >= np.float32(0.1))

    def tally(self, i, **others):
        methods = {"model": self.model[i], "equal": self.equal[i], **others}
        return window_tally(methods, self.truth[i], self.total[i], THRESHOLDS, CATEGORIES)

    def scores(self, order=range(WINDOWS)):
        total = sum((self.tally(i) for i in order), Tally())
        return summarise(total, METHODS, THRESHOLDS, CATEGORIES)


def one_cell(truth, model, thresholds=(0.1, 5), categories=(5,)):
    """Scores of single cells: truth and model (3, n) mm, S from the truth."""
    truth, model = (np.array(v, np.float32)[:, None] for v in (truth, model))
    total = truth.sum(axis=0)
    methods = {"model": model, "equal": equal_split(total)}
    tally = window_tally(methods, truth, total, thresholds, categories)
    return summarise(tally, METHODS, thresholds, categories)
