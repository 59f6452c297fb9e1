"""Tables of days drawn at random, with a model that is of some use."""

import numpy as np

from tenkizu.patterns.verification.calibration import sigmoid
from tenkizu.patterns.verification.days import DayTable

LABELS = ("1", "2A", "2B", "3")
MAJORS = ("1", "2", "2", "3")
SHARES = (0.4, 0.2, 0.1, 0.3)


def draw(days=400, labels=LABELS, shares=SHARES, seed=0, skill=1.5):
    """Truth with one or two labels a day, and logits that know something of it."""
    rng = np.random.default_rng(seed)
    truth = np.zeros((days, len(labels)), bool)
    for row, count in zip(truth, rng.integers(1, 3, days), strict=True):
        row[rng.choice(len(labels), count, replace=False, p=shares)] = True
    return truth, skill * (truth - 0.5) + rng.normal(size=truth.shape)


def make_table(days=400, first="1998-01-01", digits=None, seed=0, **parts):
    """A day table; ``digits`` rounds the probabilities, so that ties occur."""
    truth, logits = draw(days, seed=seed)
    raw, calibrated = sigmoid(2 * logits), sigmoid(logits - 0.5)
    if digits is not None:
        raw, calibrated = raw.round(digits), calibrated.round(digits)
    texts = ["+".join(np.array(LABELS)[row]) for row in truth]
    known = {
        "labels": LABELS,
        "times": np.datetime64(first, "m") + np.arange(days) * np.timedelta64(1, "D"),
        "texts": texts,
        "kinds": ["composite" if "+" in text else "single" for text in texts],
        "truth": truth,
        "raw": raw,
        "calibrated": calibrated,
        "predicted": calibrated >= 0.45,
        "decided": np.ones(len(LABELS), bool),
    }
    return DayTable(**known | parts)
