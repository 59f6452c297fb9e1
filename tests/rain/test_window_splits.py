"""Windows are given to training, validation and test, apart from each other."""

from itertools import pairwise

import numpy as np
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from rain_stores import THREE, at, windows

from tenkizu.core.periods import SplitsConfig
from tenkizu.rain.preparation import assign_splits


def test_windows_on_both_sides_of_a_border_are_left_out():
    splits = SplitsConfig(
        train=["2020-05-01T00/2020-05-01T15"],
        validation=["2020-05-01T15/2020-05-02T03"],
        test=["2020-05-02T03/2020-05-02T12"],
    )
    assert dict(
        zip(range(-3, 39, 3), assign_splits(windows("2020-04-30T21", 14), splits), strict=True)
    ) == {
        -3: None,  # before the first period
        0: "train", 3: "train", 6: "train", 9: "train",
        12: None, 15: None,  # around the border at 15 UTC
        18: "validation", 21: "validation",
        24: None, 27: None,  # around the border at 03 UTC of the second day
        30: "test", 33: "test",
        36: None,  # after the last period
    }  # fmt: skip


def test_there_is_no_guard_where_periods_do_not_touch_or_belong_together():
    splits = SplitsConfig(
        train=["2020-05-01T00/2020-05-01T06", "2020-05-01T06/2020-05-01T12"],
        validation=["2020-05-01T15/2020-05-01T21"],
    )
    assert assign_splits(windows("2020-05-01T00", 7), splits) == [
        *["train"] * 4,
        None,  # 12-15 UTC is in no period, and keeps the two apart
        *["validation"] * 2,
    ]


def test_a_window_cut_by_a_border_is_the_guard_itself():
    splits = SplitsConfig(
        train=["2020-05-01T00/2020-05-01T10"], validation=["2020-05-01T10/2020-05-01T18"]
    )
    assert assign_splits(windows("2020-05-01T00", 6), splits) == [
        *["train"] * 3,
        None,
        *["validation"] * 2,
    ]


def test_the_guard_depends_on_the_calendar_and_not_on_which_windows_exist():
    splits = SplitsConfig(
        train=["2020-05-01T00/2020-05-01T12"], validation=["2020-05-01T12/2020-05-02T00"]
    )
    starts = [at("2020-05-01T03"), at("2020-05-01T09"), at("2020-05-01T18")]
    assert assign_splits(starts, splits) == ["train", None, "validation"]


@st.composite
def periods(draw):
    """Splits from borders at any hour of four days, in any order of the three names."""
    hours = draw(st.lists(st.integers(0, 96), min_size=2, max_size=7, unique=True))
    borders = [at("2020-05-01T00") + h * np.timedelta64(1, "h") for h in sorted(hours)]
    names = {"train": [], "validation": [], "test": []}
    for begin, end in pairwise(borders):
        name = draw(st.sampled_from([*names, None]))
        if name:
            names[name].append(f"{begin}/{end}")
    return names


@settings(deadline=None, max_examples=100)
@given(periods())
def test_no_window_sees_hours_of_another_split(names):
    assume(names["train"])
    splits = SplitsConfig(**names)
    starts = windows("2020-05-01T00", 32)
    found = assign_splits(starts, splits)
    for start, own in zip(starts, found, strict=True):
        if own is None:
            continue
        inside = [
            name for name, begin, end in splits.blocks() if begin <= start and start + THREE <= end
        ]
        assert inside == [own]
        # P and N reach three hours to both sides.
        for other_start, other in zip(starts, found, strict=True):
            if other not in (None, own):
                assert abs(other_start - start) >= 2 * THREE
