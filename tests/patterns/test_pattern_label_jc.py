"""`tenkizu patterns label-jc`: types by rule as a file of labels."""

import csv

import numpy as np
from era5_files import days_of, edit, write_file
from refusals import refusal, run
from short_runs import ATLANTIC, atlantic, moved

from tenkizu.patterns.catalogues import JC
from tenkizu.patterns.labels import read_labels

DAYS = days_of(2001, 6)


def test_label_jc_writes_date_and_label(tmp_path):
    out = tmp_path / "new" / "labels.csv"
    code, said, err = run("label-jc", ATLANTIC, "--centre", "55,-5", "-o", out)
    assert code == 0, err
    assert said == f"written: {out}, 3652 days, 27 types\n"
    with out.open(newline="") as handle:
        rows = list(csv.reader(handle))
    assert rows[0] == ["date", "label"]
    label_of = dict(rows[1:])
    assert label_of["2005-01-08"] == "W"
    assert label_of["2003-08-06"] == "U"
    assert "C+SW" in label_of.values()
    days = np.arange("2001-01-01", "2011-01-01", dtype="datetime64[D]")
    targets, known = read_labels(out, JC).on_days(days)
    assert known.all()
    counts = (1169, 949, 214, 93, 96, 142, 313, 541, 581, 340, 77)
    assert tuple(targets.sum(axis=0)) == counts
    assert (targets.sum(axis=1) == 2).sum() == 863


def test_label_jc_of_other_hours_and_constants(tmp_path):
    file = moved(atlantic(tmp_path / "m.nc", "2001-01-01", "2001-12-31"), 12)
    out = tmp_path / "labels.csv"
    message = refusal(3, "label-jc", file, "--centre", "55,-5", "-o", out)
    assert "no map at 00 UTC; found hours 12 UTC" in message
    code, _, err = run("label-jc", file, "--centre", "55,355", "--hour", 12, "-o", out)
    assert code == 0, err
    exact = out.read_text()
    assert run("label-jc", file, "--centre", "55,-5", "--hour", 12, "--rounded", "-o", out)[0] == 0
    changed = [a != b for a, b in zip(exact.split(), out.read_text().split(), strict=True)]
    assert sum(changed) < 5
    wide = ["--u-limit", "1000"]
    assert run("label-jc", file, "--centre", "55,-5", "--hour", 12, *wide, "-o", out)[0] == 0
    labels = [line.partition(",")[2] for line in out.read_text().split()[1:]]
    assert labels == ["U"] * 365


def test_label_jc_refuses_what_it_cannot_label(msl, tmp_path):
    def refused(code, centre, *options, file=ATLANTIC):
        out = tmp_path / "out.csv"
        message = refusal(code, "label-jc", file, "--centre", centre, "-o", out, *options)
        assert not out.exists()
        return message

    for centre in ("55", "55,west", "55;-5", "1,2,3"):
        message = refused(2, centre)
        assert f"--centre: not a point; found {centre}, expected LAT,LON" in message
    assert "found latitude 80, expected more than 15 and less than 75" in refused(2, "80,-5")
    message = refused(3, "56,-5")
    assert "points around the centre are not on the grid" in message
    assert "p1 (66 N, 10 W)" in message
    message = refused(3, "55,5")
    assert "the grid does not reach all 16 points around the centre" in message
    assert "p6 (60 N, 20 E)" in message
    assert "absent.nc: no such file" in refused(3, "55,-5", file=tmp_path / "absent.nc")
    edit(msl, "msl", units="hPa")
    assert "wrong units; found 'hPa'" in refused(3, "35,135", file=msl)
    before = msl.read_bytes()
    message = refusal(2, "label-jc", msl, "--centre", "35,135", "-o", msl)
    assert "the output is the input file" in message
    assert msl.read_bytes() == before
    z = tmp_path / "z.nc"
    write_file(z, ("z500",), DAYS)
    assert "msl: no such field in these files" in refused(3, "35,135", file=z)
    code, said, err = run(
        "label-jc", ATLANTIC, "--centre", "56,-5", "--interpolate",
        "-o", tmp_path / "out.csv",
    )  # fmt: skip
    assert (code, "3652 days" in said) == (0, True), err
