"""Labels: how they read, the shipped calendar's facts, files of labels, other catalogues."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.patterns.catalogues import CATALOGUES, JC, YOSHINO, catalogue_from
from tenkizu.patterns.labels import (
    LabelTable,
    parse_label,
    read_labels,
    shipped_calendar,
    write_labels,
)

TYPES = ["1", "2A", "2B", "2C", "2D", "3A", "3B", "3C", "3D", "4A", "4B", "5", "6A", "6B", "6C"]
YEARS = range(1991, 2001)

TYPES_BY_YEAR = """
    1   84 67 65 77 92 75 74 73 75 78  760 534 226
    2A  54 56 57 80 78 76 83 50 62 73  669 484 185
    2B  16 27 29 29 38 24 26 19 42 27  277 189 88
    2C  23 42 29 44 31 25 39 47 40 25  345 233 112
    2D  23 28 37 22 34 17 28 26 17 30  262 189 73
    3A  40 30 31 30 29 40 36 51 25 21  333 236 97
    3B  71 80 76 59 59 75 55 48 65 58  646 475 171
    3C  17 15 24 31 20 31 20 26 40 29  253 158 95
    3D   6 12 24 23 14 23 33 18 13 20  186 135 51
    4A  59 38 57 42 67 67 57 88 67 57  599 387 212
    4B  89 74 80 73 74 61 65 61 59 57  693 516 177
    5   21 29  6 51 40 24 37 28 33 49  318 208 110
    6A  21 18 10 25  6 18 17  8 14 28  165 115 50
    6B   8  3  9  8  4  9  7  4  6 10   68  48 20
    6C   0  0  1  1  0  0  0  0  1  2    5   2 3
"""
"""Days with each type by year, in all, 1991-97 and 1998-2000."""

ROLES = """
    1 375 278 35 72    2A 61 524 80 4    2B 81 167 1 28    2C 80 203 35 27    2D 170 55 21 16
    3A 53 261 15 4     3B 321 224 40 61  3C 101 138 7 7    3D 63 103 10 10    4A 203 385 3 8
    4B 126 557 1 9     5 69 244 1 4      6A 7 158 0 0      6B 15 52 1 0       6C 2 3 0 0
"""
"""Days on which each type is alone, one of two, left and reached."""


@pytest.fixture(scope="module")
def calendar():
    return read_labels(shipped_calendar(), YOSHINO)


@pytest.fixture(scope="module")
def maps_00utc():
    """Valid times of the daily maps: 00 UTC is 09 local time of the same date."""
    days = np.arange("1991-01-01", "2001-01-01", dtype="datetime64[D]")
    return days.astype("datetime64[m]")


def of_years(times, first, last):
    years = times.astype("datetime64[Y]").astype(int) + 1970
    return times[(years >= first) & (years <= last)]


# ---------------------------------------------------------------------------- shipped calendar


def test_the_order_of_the_types():
    assert list(YOSHINO.labels) == TYPES
    assert list(JC.labels) == ["A", "C", "N", "NE", "E", "SE", "S", "SW", "W", "NW", "U"]
    assert CATALOGUES == {"yoshino": YOSHINO, "jc": JC}
    assert "Yoshino (2002)" in YOSHINO.citation


def test_the_calendar_has_every_day_once(calendar, maps_00utc):
    assert len(calendar.by_day) == len(maps_00utc) == 3653
    assert set(calendar.by_day) == set(maps_00utc.astype("datetime64[D]"))
    assert None not in calendar.by_day.values()


@pytest.mark.parametrize(
    ("first", "last", "days", "single", "composite", "transition", "positives"),
    [
        (1991, 2000, 3653, 1727, 1676, 250, 5579),
        (1991, 1997, 2557, 1205, 1169, 183, 3909),
        (1998, 2000, 1096, 522, 507, 67, 1670),
    ],
)
def test_days_by_kind(
    calendar, maps_00utc, first, last, days, single, composite, transition, positives
):
    counts = calendar.counts(of_years(maps_00utc, first, last))
    assert (counts.days, counts.unlabelled) == (days, 0)
    assert (counts.single, counts.composite, counts.transition) == (single, composite, transition)
    assert counts.positives == positives


def test_days_by_kind_and_year(calendar, maps_00utc):
    counts = [calendar.counts(of_years(maps_00utc, year, year)) for year in YEARS]
    assert [c.single for c in counts] == [198, 213, 195, 135, 144, 167, 153, 183, 171, 168]
    assert [c.composite for c in counts] == [145, 117, 138, 213, 194, 180, 182, 160, 167, 180]
    assert [c.transition for c in counts] == [22, 36, 32, 17, 27, 19, 30, 22, 27, 18]


def test_days_by_type_and_year(calendar, maps_00utc):
    columns = [calendar.counts(of_years(maps_00utc, year, year)).types for year in YEARS]
    for first, last in ((1991, 2000), (1991, 1997), (1998, 2000)):
        columns.append(calendar.counts(of_years(maps_00utc, first, last)).types)
    table = "\n".join(
        " ".join([name, *(str(column[name]) for column in columns)]) for name in TYPES
    )
    assert table.split() == TYPES_BY_YEAR.split()


def test_multi_hot_agrees_with_the_counts(calendar, maps_00utc):
    targets, known = calendar.multi_hot(maps_00utc)
    assert known.all()
    assert targets.dtype == known.dtype == bool
    assert targets.sum(axis=0).tolist() == [
        int(line.split()[11]) for line in TYPES_BY_YEAR.strip().splitlines()
    ]
    assert Counter(targets.sum(axis=1).tolist()) == {1: 1727, 2: 1676 + 250}


def test_days_by_role(calendar):
    labels = list(calendar.by_day.values())
    alone = Counter(label.parts[0] for label in labels if label.kind == "single")
    joined = Counter(p for label in labels if label.kind == "composite" for p in label.parts)
    left = Counter(label.transition_from for label in labels)
    reached = Counter(label.transition_to for label in labels)
    table = [[t, alone[t], joined[t], left[t], reached[t]] for t in TYPES]
    assert [str(cell) for row in table for cell in row] == ROLES.split()
    assert left[None] == reached[None] == 3653 - 250


def test_texts_and_sets(calendar):
    labels = list(calendar.by_day.values())
    texts = {
        kind: {x.text for x in labels if x.kind == kind} for kind in ("composite", "transition")
    }
    assert len({label.text for label in labels}) == 176
    assert len({frozenset(label.parts) for label in labels}) == 97
    assert len(texts["composite"]) == 109
    assert len({frozenset(text.split("+")) for text in texts["composite"]}) == 78
    assert len(texts["transition"]) == 52
    backwards = [
        label
        for label in labels
        if label.kind == "composite" and TYPES.index(label.parts[0]) > TYPES.index(label.parts[1])
    ]
    assert len(backwards) == 98


def test_two_validation_days_carry_sets_unseen_in_training(calendar):
    sets = {day: frozenset(label.parts) for day, label in calendar.by_day.items()}
    start = np.datetime64("1998-01-01")
    seen = {types for day, types in sets.items() if day < start}
    assert sum(types not in seen for day, types in sets.items() if day >= start) == 2


def test_two_label_days_within_one_major_type(calendar):
    two = [label.parts for label in calendar.by_day.values() if len(label.parts) == 2]
    assert len(two) == 1926
    assert sum(a[0] == b[0] for a, b in two) == 159


def test_transitions_and_their_neighbours(calendar):
    before = after = 0
    for day, label in calendar.by_day.items():
        if label.kind == "transition":
            yesterday, tomorrow = calendar.by_day.get(day - 1), calendar.by_day.get(day + 1)
            before += yesterday is not None and label.transition_from in yesterday.parts
            after += tomorrow is not None and label.transition_to in tomorrow.parts
    assert (before, after) == (95, 131)


def test_typhoons_over_northern_japan(calendar):
    days = [str(day) for day, label in calendar.by_day.items() if "6C" in label.parts]
    assert days == ["1993-08-28", "1994-09-19", "1999-09-25", "2000-08-18", "2000-09-18"]


def test_days_by_major_type(calendar, maps_00utc):
    targets, _ = calendar.multi_hot(maps_00utc)
    majors = YOSHINO.over_majors(targets)
    assert YOSHINO.major_labels == ("1", "2", "3", "4", "5", "6")
    assert majors.dtype == bool
    assert majors.sum(axis=0).tolist() == [760, 1429, 1390, 1288, 318, 235]
    assert majors[:2557].sum(axis=0).tolist() == [534, 1000, 979, 899, 208, 162]


def test_a_major_type_is_as_likely_as_its_likeliest_subtype():
    probs = np.arange(15) / 100.0
    np.testing.assert_array_equal(YOSHINO.over_majors(probs), [0.00, 0.04, 0.08, 0.10, 0.11, 0.14])


# ---------------------------------------------------------------------------- grammar


@pytest.mark.parametrize(
    ("text", "parts", "kind", "written"),
    [
        ("2C", ("2C",), "single", "2C"),
        (" 4A + 3B ", ("4A", "3B"), "composite", "4A+3B"),
        ("2C-1", ("2C", "1"), "transition", "2C-1"),
    ],
)
def test_what_a_label_means(text, parts, kind, written):
    label = parse_label(text, YOSHINO, "here")
    assert (label.parts, label.kind, label.text) == (parts, kind, written)


def test_both_sides_of_a_transition_hold_and_are_told_apart():
    label = parse_label("2C-1", YOSHINO, "here")
    assert (label.transition_from, label.transition_to) == ("2C", "1")
    composite = parse_label("2C+1", YOSHINO, "here")
    assert (composite.transition_from, composite.transition_to) == (None, None)


@pytest.mark.parametrize("text", ["", "  ", "N/A", "NA", "None", None])
def test_unlabelled(text):
    assert parse_label(text, YOSHINO, "here") is None


@pytest.mark.parametrize(
    ("catalogue", "text", "message"),
    [
        (YOSHINO, "2a+1", "unknown type '2a'; found '2a+1', expected one of 1, 2A, 2B"),
        (YOSHINO, "2a+1", "next: did you mean 2A?"),
        (YOSHINO, "1+2A-3B", "more than two types; found '1+2A-3B'"),
        (YOSHINO, "1+1", "the same type twice; found '1+1'"),
        (YOSHINO, "1-1", "the same type twice"),
        (YOSHINO, "1+", "a type is missing; found '1+'"),
        (YOSHINO, "nan", "unknown type 'nan'"),
        (YOSHINO, "1,2A", "unknown type '1,2A'"),
        (JC, "C+U", "U can only stand alone; found 'C+U'"),
        (JC, "C-SW", "unknown type 'C-SW'"),
    ],
)
def test_what_is_no_label(catalogue, text, message):
    with pytest.raises(DataError) as error:
        parse_label(text, catalogue, "labels.csv, line 7")
    assert str(error.value).startswith("labels.csv, line 7: label: ")
    assert message in str(error.value)
    assert error.value.exit_code == 3


# ---------------------------------------------------------------------------- looking up


def test_the_date_is_local():
    table = LabelTable.of(
        YOSHINO, [np.datetime64("1991-01-01"), np.datetime64("1991-01-02")], ["1", "5"]
    )
    times = np.array(["1990-12-31T15:00", "1991-01-01T14:59", "1991-01-01T15:00"], "datetime64[m]")
    assert [label.text for label in table.lookup(times)] == ["1", "1", "5"]
    utc = replace(table, catalogue=replace(YOSHINO, utc_offset_hours=0))
    assert [label and label.text for label in utc.lookup(times)] == [None, "1", "1"]
    half = replace(YOSHINO, utc_offset_hours=5.5)
    assert half.local_days(times).astype(str).tolist() == ["1990-12-31", "1991-01-01", "1991-01-01"]


def test_unlabelled_and_unknown_days_are_counted_and_marked():
    days = np.arange("1991-01-01", "1991-01-05", dtype="datetime64[D]")
    table = LabelTable.of(YOSHINO, days[:3], ["2C-1", "N/A", "6A+4B"])
    targets, known = table.multi_hot(days.astype("datetime64[ns]"))
    assert known.tolist() == [True, False, True, False]
    hot = [[TYPES[i] for i in np.flatnonzero(row)] for row in targets]
    assert hot == [["1", "2C"], [], ["4B", "6A"], []]
    counts = table.counts(days.astype("datetime64[ns]"))
    assert (counts.days, counts.unlabelled, counts.composite, counts.transition) == (4, 2, 1, 1)
    assert counts.positives == 4
    np.testing.assert_array_equal(table.on_days(days)[0], targets)


# ---------------------------------------------------------------------------- files


def test_what_is_written_is_read_again(tmp_path, calendar):
    path = tmp_path / "out" / "labels.csv"
    texts = [label.text for label in calendar.by_day.values()]
    write_labels(path, list(calendar.by_day), texts)
    assert path.read_bytes() == shipped_calendar().read_bytes()
    assert [p.name for p in path.parent.iterdir()] == ["labels.csv"]


def test_a_day_without_a_label_is_written_blank(tmp_path):
    path = tmp_path / "labels.csv"
    write_labels(path, np.arange("2001-01-01", "2001-01-03", dtype="datetime64[D]"), ["C+SW", None])
    assert path.read_text() == "date,label\n2001-01-01,C+SW\n2001-01-02,\n"
    table = read_labels(path, JC)
    assert [label and label.parts for label in table.by_day.values()] == [("C", "SW"), None]


def test_csv_as_spreadsheets_write_it(tmp_path):
    path = tmp_path / "labels.csv"
    lines = [
        "\ufeffremark,Label ,Date",
        '"cold, ""very""",1,1991/1/5',
        "",
        ",,",
        ",2A+3B,1991/01/06",
    ]
    path.write_bytes("\r\n".join([*lines, ""]).encode())
    table = read_labels(path, YOSHINO)
    assert {str(day): label.text for day, label in table.by_day.items()} == {
        "1991-01-05": "1",
        "1991-01-06": "2A+3B",
    }


@pytest.mark.parametrize(
    "text",
    [
        '{"1991-01-01": "2C", "1991-01-02": "2C-1", "1991-01-03": None}',
        '"""Made by hand."""\n# a comment\nLABELS: dict = {\n    "1991-01-01": "2C",\n'
        '    "1991-01-02": "2C" "-1",\n    "1991-01-03": "N/A",\n}\n',
    ],
)
def test_a_python_dictionary(tmp_path, text):
    path = tmp_path / "labels.py"
    path.write_text(text)
    table = read_labels(path, YOSHINO)
    assert [label and label.text for label in table.by_day.values()] == ["2C", "2C-1", None]


def test_a_python_file_is_never_run(tmp_path):
    path, trace = tmp_path / "labels.py", tmp_path / "trace"
    path.write_text(f'{{\n"1991-01-01": "1",\n"1991-01-02": open({str(trace)!r}, "w").name}}')
    with pytest.raises(DataError, match=r"labels.py, line 3: not a date and its label; found '199"):
        read_labels(path, YOSHINO)
    assert not trace.exists()


@pytest.mark.parametrize(
    ("name", "text", "line", "message"),
    [
        ("a.csv", "date,label\n1991-01-01,1\n1991-01-02,7\n", 3, "unknown type '7'"),
        (
            "a.csv",
            "date,label\n1991-01-01,1\n\n1991-02-29,1\n",
            4,
            "not a date; found '1991-02-29'",
        ),
        ("a.csv", "date,label\n01/02/1991,1\n", 2, "expected a date such as 1991-01-31"),
        ("a.csv", "date,label\n1991-01-01,1\n1991-01-01,NA\n", 3, "1991-01-01 comes twice"),
        ("a.csv", "date,label\n1991-01-01\n", 2, "too few columns; found '1991-01-01'"),
        ("a.csv", "1991-01-01,1\n", 1, "has no columns date and label; found '1991-01-01,1'"),
        ("a.csv", "", 1, "has no columns date and label"),
        ("a.csv", 'date,label\n1991-01-01,"1\n1991-01-02,1\n', 2, "is not CSV"),
        ("a.csv", b"date,label\n1991-01-01,\x8b\n", 2, "found byte 0x8b, expected UTF-8"),
        ("a.py", '{"1991-01-01": "1",\n"1991-01-02": 1}', 2, "found '1991-01-02': 1, expected two"),
        ("a.py", '{"1991-01-01": "1",\n"1991-01-01": "1"}', 2, "1991-01-01 comes twice"),
        ("a.py", '{"1991-01-01": "1",\n"1991-1-32": "1"}', 2, "not a date"),
        ("a.py", '{"1991-01-01": "1",\n"1991-01-02": "1+2A-5"}', 2, "more than two types"),
        ("a.py", '{"1991-01-01": "1",\n **more}', 2, "found **more"),
        ("a.py", '{"1991-01-01": "1"\n"1991-01-02": "1"}', 2, "is not a Python dictionary"),
        ("a.py", 'import os\nlabels = {"1991-01-01": "1"}', 1, "never run; found import os"),
        ("a.py", 'a = {"1991-01-01": "1"}\nb = {}', 2, "must hold one dictionary and nothing else"),
        ("a.py", "", 1, "found nothing"),
    ],
)
def test_errors_name_file_and_line(tmp_path, name, text, line, message):
    path = tmp_path / name
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(DataError) as error:
        read_labels(path, YOSHINO)
    assert str(error.value).startswith(f"{path}, line {line}: ")
    assert message in str(error.value)


def test_a_date_given_twice_names_both_lines(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("date,label\n1991-01-01,1\n1991-01-02,5\n1991/1/1,5\n")
    with pytest.raises(DataError, match=r"line 4: the date 1991-01-01 comes twice.*line 2"):
        read_labels(path, YOSHINO)


def test_a_file_without_any_label(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("date,label\n1991-01-01,\n")
    with pytest.raises(DataError, match="holds no labelled day; found 1 dates"):
        read_labels(path, YOSHINO)
    with pytest.raises(DataError, match="cannot be read"):
        read_labels(tmp_path / "none.csv", YOSHINO)


# ---------------------------------------------------------------------------- own catalogues


def test_a_catalogue_of_ones_own(tmp_path):
    catalogue = catalogue_from(
        "europe",
        ["Wz", "Ws", "HM", "TM"],
        majors={"zonal": ["Wz", "Ws"], "central": ["TM", "HM"]},
        separators=("&", "->"),
        utc_offset_hours=1,
        alone=["HM"],
    )
    assert catalogue.majors == ("zonal", "zonal", "central", "central")
    path = tmp_path / "labels.csv"
    path.write_text("date,label\n1991-01-01,Wz & TM\n1991-01-02,Ws->Wz\n1991-01-03,HM\n")
    labels = list(read_labels(path, catalogue).by_day.values())
    assert [label.kind for label in labels] == ["composite", "transition", "single"]
    assert labels[1].transition_to == "Wz"
    with pytest.raises(DataError, match="HM can only stand alone"):
        parse_label("TM&HM", catalogue, "here")


def test_an_offset_that_replaces_the_catalogues_own_is_checked():
    assert replace(YOSHINO, utc_offset_hours=-3.5).utc_offset_hours == -3.5
    with pytest.raises(ConfigError, match=r"labels.utc_offset_hours: .* found 900"):
        replace(YOSHINO, utc_offset_hours=900)


def test_majors_and_separators_are_optional():
    catalogue = catalogue_from("plain", ["a-b", "c+d"], separators=(None, None))
    assert catalogue.majors == catalogue.labels
    assert parse_label("a-b", catalogue, "here").kind == "single"


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"labels": []}, "labels.types: names no types"),
        ({"labels": ["1", "2", "1"]}, "labels.types: is given twice; found '1'"),
        ({"labels": ["1", 2]}, "is not text; put it in quotes; found 2"),
        ({"labels": ["1", "NA"]}, "reads as 'no label'; found 'NA'"),
        ({"labels": ["1", " 2"]}, "cannot be the name of a type"),
        ({"labels": ["1", "A-B"]}, "contains the separator '-'"),
        ({"separators": ("+", "+")}, "labels.separators: are not two separators"),
        ({"separators": ("-", "->")}, "neither part of the other"),
        ({"separators": ("", "-")}, "are not two separators"),
        ({"separators": ("+",)}, "are not two separators; found ['+']"),
        ({"majors": {"x": ["1"]}}, "labels.majors: leaves out types; found nothing for 2, 3"),
        (
            {"majors": {"x": ["1", "2"], "y": ["2", "3"]}},
            "lists a type twice; found 2 of x and of y",
        ),
        ({"majors": {"x": ["1", "4"]}}, "lists an unknown type; found 4 of x"),
        ({"utc_offset_hours": 900}, "found 900.0, expected hours between -24 and 24"),
        ({"utc_offset_hours": float("nan")}, "is not an offset of local time"),
        ({"alone": ["9"]}, "alone: names unknown types; found ['9']"),
    ],
)
def test_what_is_no_catalogue(given, message):
    with pytest.raises(ConfigError) as error:
        catalogue_from(**{"name": "own", "labels": ["1", "2", "3"], **given})
    assert message in str(error.value)
