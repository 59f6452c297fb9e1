"""The table of days: its file, its parts, and what it refuses."""

import dataclasses

import numpy as np
import pytest
from day_tables import LABELS, make_table

from tenkizu.core.errors import DataError
from tenkizu.patterns.verification.days import DayTable, kind_of


def same(a, b):
    for part in dataclasses.fields(DayTable):
        left, right = getattr(a, part.name), getattr(b, part.name)
        if isinstance(left, np.ndarray):
            np.testing.assert_array_equal(left, right)
        else:
            assert left == right


def test_the_file_gives_back_every_digit(tmp_path):
    table = make_table(50)
    table.to_csv(tmp_path / "probabilities_val.csv")
    same(DayTable.from_csv(tmp_path / "probabilities_val.csv"), table)


def test_lines_read_as_specified(tmp_path):
    table = make_table(
        2,
        texts=["2A-1", "3"],
        kinds=["transition", "single"],
        truth=np.array([[1, 1, 0, 0], [0, 0, 0, 1]], bool),
        raw=np.array([[0.5, 0.25, 0, 1], [0.125, 0, 0, 1]]),
        calibrated=np.array([[0.75, 0.25, 0, 1], [0, 0, 0, 0.5]]),
        predicted=np.array([[1, 0, 0, 1], [0, 0, 0, 0]], bool),
    )
    table.to_csv(tmp_path / "p.csv")
    assert (tmp_path / "p.csv").read_text().splitlines() == [
        "date,label,p_1,p_2A,p_2B,p_3,c_1,c_2A,c_2B,c_3,predicted",
        "1998-01-01,2A-1,0.5,0.25,0.0,1.0,0.75,0.25,0.0,1.0,1+3",
        "1998-01-02,3,0.125,0.0,0.0,1.0,0.0,0.0,0.0,0.5,",
    ]
    same(DayTable.from_csv(tmp_path / "p.csv"), table)


def test_hours_are_written_where_days_do_not_begin_at_midnight(tmp_path):
    table = make_table(3, first="1998-01-01T12:00")
    table.to_csv(tmp_path / "p.csv")
    assert "\n1998-01-02T12:00," in (tmp_path / "p.csv").read_text()
    same(DayTable.from_csv(tmp_path / "p.csv"), table)


def test_which_classes_are_decided_is_told_beside_the_file(tmp_path):
    decided = np.array([True, True, False, True])
    table = make_table(5, decided=decided, predicted=np.zeros((5, 4), bool))
    table.to_csv(tmp_path / "p.csv")
    same(DayTable.from_csv(tmp_path / "p.csv", decided=decided), table)


def test_some_days_by_mask_or_index():
    table = make_table(40)
    first = table.select(table.times < np.datetime64("1998-01-11"))
    same(first, table.select(np.arange(10)))
    assert len(first) == 10
    assert first.texts == table.texts[:10]


def test_folds_are_joined_in_order_of_time():
    table = make_table(40)
    later, earlier = table.select(np.arange(20, 40)), table.select(np.arange(20))
    same(DayTable.join([later, earlier]), table)
    with pytest.raises(DataError, match="days are not in order of time, each once"):
        DayTable.join([later, table])
    with pytest.raises(DataError, match="different labels; found 1, 2A, 2B, X"):
        DayTable.join([table, make_table(4, labels=(*LABELS[:3], "X"))])


def test_kinds_of_label_strings():
    assert [kind_of(t) for t in ("2A", "2A+1", "2A-1")] == ["single", "composite", "transition"]


@pytest.mark.parametrize(
    ("parts", "message"),
    [
        ({"raw": np.full((3, 4), 1.5)}, "raw: not a probability; found 1.5 at 1998-01-01"),
        ({"calibrated": np.full((3, 4), np.nan)}, "calibrated: not a probability; found nan"),
        ({"truth": np.ones((2, 4), bool)}, r"truth: .*found \(2, 4\), expected \(3, 4\)"),
        ({"decided": np.ones(3, bool)}, r"decided: .*found \(3,\), expected \(4,\)"),
        ({"texts": ["1"]}, r"texts: .*found \(1,\), expected \(3,\)"),
    ],
)
def test_parts_that_do_not_fit_are_refused(parts, message):
    with pytest.raises(DataError, match=message):
        make_table(3, **parts)


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("date,label", "day,label", "not a table of probabilities; found day,label"),
        ("c_2B", "c_2C", "not a table of probabilities"),
        ("0.5,0.25", "0.5,", "line 2: a line of another length; found 10 values, expected 11"),
        ("0.125", "x", "damaged: could not convert string to float"),
        ("1998-01-02", "2 Jan", "damaged: "),
        ("1+3", "1+4", "line 2: unknown label; found '4', expected one of 1, 2A, 2B, 3"),
    ],
)
def test_a_file_that_is_no_table_names_what_is_wrong(tmp_path, old, new, message):
    test_lines_read_as_specified(tmp_path)
    path = tmp_path / "p.csv"
    text = path.read_text().replace(old, new)
    path.write_text(text.replace("0.5,,", "0.5,"))
    with pytest.raises(DataError, match=message) as caught:
        DayTable.from_csv(path)
    assert str(path) in str(caught.value)


def test_an_absent_file_is_named(tmp_path):
    with pytest.raises(DataError, match=r"p\.csv: cannot be read: .*No such file"):
        DayTable.from_csv(tmp_path / "p.csv")
