"""`tenkizu patterns`: every bad file is one message with exit code 3."""

import json
import shutil

import numpy as np
import pytest
from era5_files import days_of, edit, region, truncate, write_file
from refusals import refusal, run
from short_runs import ATLANTIC, written

pytestmark = pytest.mark.usefixtures("no_figures")

DAYS = days_of(2001, 6)


@pytest.fixture
def prepare(tmp_path):
    """Runs `prepare` on files: prepare(code, files, "data.hours=[12]")."""
    yaml = tmp_path / "prepare.yaml"
    yaml.write_text(
        "kind: patterns\n"
        "run: {name: bad}\n"
        f"data: {{files: [], channels: [msl], store: {tmp_path / 'store'}}}\n"
    )

    def call(code, files, *overrides):
        listed = f"data.files=[{','.join(map(str, files))}]"
        message = refusal(code, "prepare", yaml, listed, *overrides)
        assert not (tmp_path / "store").exists()
        return message

    return call


def test_files_that_are_absent_damaged_or_something_else(msl, prepare, tmp_path):
    message = prepare(3, [tmp_path / "absent.nc"])
    assert f"{tmp_path / 'absent.nc'}: no such file" in message
    truncate(msl)
    message = prepare(3, [msl])
    assert f"{msl}: damaged or truncated" in message
    assert f"found {msl.stat().st_size} bytes" in message
    msl.write_text("<html>Service unavailable</html>")
    assert "not a NetCDF file; found an HTML or XML page of 32 bytes" in prepare(3, [msl])


def test_missing_variable_level_and_day(msl, prepare, tmp_path):
    z = tmp_path / "z.nc"
    write_file(z, ("z500",), DAYS)
    channels = "data.channels=[msl,thk_1000_500,t850]"
    message = prepare(3, [msl, z], channels)
    assert "msl.nc, z.nc: z1000, t850: the files do not hold the fields of all channels" in message
    assert "expected thk_1000_500 (needs z1000), t850 (needs t850)" in message
    assert "data.drop=[thk_1000_500,t850]" in message
    write_file(z, ("z500",), DAYS[:-2])
    message = prepare(3, [msl, z], "data.channels=[msl,gh500]")
    assert f"{z}: z: missing days that other fields have; found 4 of 6" in message
    assert "missing 2001-01-05, 2001-01-06" in message
    assert "tenkizu patterns download CONFIG" in message


def test_a_missing_day_of_a_downloaded_year(prepare, tmp_path):
    days = days_of(2001)
    file = tmp_path / "era5_msl_2001.nc"
    write_file(file, ("msl",), np.delete(days, 58), grid=10.0)
    source = ["data.source=era5", f"data.raw_dir={tmp_path}", "data.years=[2001]"]
    message = prepare(3, [], *source)
    assert f"{file}: msl: missing days; found 364 of 365, missing 2001-02-28" in message
    assert "tenkizu patterns download CONFIG" in message
    message = prepare(3, [], *source, "data.channels=[msl,t850]")
    assert "missing files; found 1 of 2, missing era5_t_850_2001.nc" in message


def test_duplicate_times(msl, prepare, tmp_path):
    again = shutil.copy(msl, tmp_path / "again.nc")
    message = prepare(3, [msl, again])
    assert f"{again}: msl: duplicate times; found 2001-01-01" in message
    assert "expected 6 different times" in message


def test_grids_that_differ_within_the_data(msl, prepare, tmp_path):
    lat, lon = region(2.5)
    other = tmp_path / "t.nc"
    write_file(other, ("t850",), DAYS, (lat - 2.5, lon))
    message = prepare(3, [msl, other], "data.channels=[msl,t850]")
    assert f"{other}: t: another grid than msl in msl.nc" in message
    assert "latitude 0 is 52.5, not 55" in message


def test_wrong_and_missing_units(msl, prepare, tmp_path):
    edit(msl, "msl", units="hPa")
    message = prepare(3, [msl])
    assert f"{msl}: msl: wrong units; found 'hPa', values" in message
    assert "expected Pa" in message
    edit(msl, "msl", units=None)
    assert "msl: no units" in prepare(3, [msl])
    z = tmp_path / "z.nc"
    write_file(msl, ("msl",), DAYS)
    write_file(z, ("z500",), DAYS)
    edit(z, "z", units="m")
    message = prepare(3, [msl, z], "data.channels=[msl,gh500]")
    assert f"{z}: z: wrong units; found 'm', values 5" in message
    assert "expected m2 s-2" in message


def test_values_that_are_not_finite(msl, prepare):
    edit(msl, "msl", at=(3, 2, slice(4, 9)), value=np.nan)
    message = prepare(3, [msl])
    assert f"{msl}: msl: non-finite values; found 5 in 1 of 6 maps read" in message
    assert "first on 2001-01-04" in message
    assert "data.drop" in message


def test_maps_of_other_hours(msl, prepare, tmp_path):
    write_file(msl, ("msl",), DAYS + np.timedelta64(6, "h"))
    message = prepare(3, [msl])
    assert f"{msl}: msl: no map at 00 UTC; found hours 06 UTC, expected 00 UTC" in message
    assert "data.hours" in message


@pytest.mark.parametrize(
    ("line", "where", "message"),
    [
        ("2001-01-03,7Z", 3, "label: unknown type '7Z'; found '7Z', expected one of A, C, N"),
        ("2001-01-03,nw", 3, "did you mean NW?"),
        ("2001-01-03,A+C+W", 3, "label: more than two types; found 'A+C+W'"),
        ("2001-01-03,U+W", 3, "label: U can only stand alone"),
        ("2001-01-01,W", 3, "the date 2001-01-01 comes twice"),
        ("2001-02-30,W", 3, "not a date; found '2001-02-30'"),
        ("2001-01-03", 3, "too few columns"),
    ],
)
def test_labels_that_cannot_be_read_name_file_and_line(yaml, tmp_path, line, where, message):
    labels = tmp_path / "labels.csv"
    labels.write_text(f"date,label\n2001-01-01,A\n{line}\n")
    said = refusal(3, "train", yaml, f"labels.file={labels}", f"data.store={tmp_path / 's'}")
    assert f"{labels}, line {where}: " in said
    assert message in said


def test_splits_without_a_labelled_day(yaml, tmp_path):
    labels = tmp_path / "labels.csv"
    labels.write_text("date,label\n2001-01-01,A\n2001-01-02,W\n")
    settings = [f"labels.file={labels}", f"data.store={tmp_path / 'store'}"]
    message = refusal(3, "train", yaml, *settings)
    assert f"{labels}: data.splits.validation: no labelled day in a split" in message
    assert "found maps of 2002: 365" in message
    labels.write_text("date,label\n1991-01-01,A\n")
    message = refusal(3, "train", yaml, *settings, "--overwrite")
    assert "no day of the maps is labelled; found labels from 1991-01-01 to 1991-01-01" in message
    assert "expected labels for 2001-01-01 to 2003-12-31" in message
    settings[0] = "labels.file=absent.csv"
    assert "absent.csv: no such file" in refusal(3, "train", yaml, *settings, "--overwrite")


def test_splits_without_a_day(yaml):
    message = refusal(3, "train", yaml, "data.splits.test=[2009/2010]")
    assert "data.splits.test: an empty split; found no day in 2009/2010" in message
    assert "2001: 365, 2002: 365, 2003: 365" in message
    splits = "data.splits={scheme: blocked_cv, block_years: 2}"
    message = refusal(3, "train", yaml, splits, "run.name=cv")
    assert "too few years for cross-validation; found 1 blocks of 2 years" in message


def test_a_type_without_training_days_is_warned_of(yaml, tiny_pattern_store, tmp_path):
    labels = tmp_path / "labels.csv"
    lines = (tiny_pattern_store.path / "labels.csv").read_text().splitlines()
    lines = [line.replace(",U", ",A") for line in lines if not line.startswith("2003-01-01")]
    labels.write_text("\n".join([*lines, "2003-01-01,U"]))
    settings = [f"labels.file={labels}", f"data.store={tmp_path / 'store'}"]
    code, out, err = run("train", yaml, *settings)
    assert code == 0, err
    assert "no training day has U: the model cannot know them, they stay undefined" in err
    assert "undefined" in out
    assert "mAP over 11 of 11 types" in out  # of the test, where U has its one day


def test_a_model_and_data_of_different_channels(tiny_pattern_run, pattern_config, tmp_path):
    other = {"channels": ["msl", "lap_msl"], "store": tmp_path / "s"}
    config = pattern_config(tmp_path, data=other)
    code, _, err = run("prepare", written(config, tmp_path / "other.yaml"))
    assert code == 0, err
    message = refusal(3, "evaluate", tiny_pattern_run, tmp_path / "s", "-o", tmp_path / "out")
    assert f"{tmp_path / 's'}: the model's channels are not all there: grad_msl missing" in message
    assert "found msl, lap_msl, expected msl, grad_msl" in message
    axes = np.arange(70.0, 29.0, -2.5), np.arange(-30.0, 11.0, 2.5)
    write_file(tmp_path / "t.nc", ("t850", "q850"), DAYS, axes)
    message = refusal(3, "predict", tiny_pattern_run, tmp_path / "t.nc", "-o", tmp_path / "o.csv")
    assert "found t850, q850" in message or "found q850, t850" in message
    assert "expected msl (needs msl), grad_msl (needs msl)" in message


def test_models_of_another_format_kind_or_content(tiny_pattern_run, tmp_path):
    def changed(name, **values):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(tiny_pattern_run / "model.safetensors", folder)
        data = json.loads((tiny_pattern_run / "model.json").read_text())
        (folder / "model.json").write_text(json.dumps(data | values))
        return refusal(3, "predict", folder, ATLANTIC, "-o", tmp_path / "out.csv")

    message = changed("newer", format_version=99)
    assert "model.json: not a model this version can read" in message
    assert "found format tenkizu-model, version 99" in message
    assert "expected format tenkizu-model, version 1" in message
    message = changed("rain", kind="rain")
    assert "a model of the other system; found rain, expected patterns" in message
    message = changed("damaged", weights_sha256="0" * 64)
    assert "model.safetensors: damaged, or from another model" in message
    message = changed("changed", members=[])
    assert "model.json: " in message
    assert "0 members, 1 calibrations" in message
    assert "copy the whole model folder again" in message
    message = refusal(3, "predict", tmp_path / "absent", ATLANTIC, "-o", tmp_path / "out.csv")
    assert "no such model" in message
    assert not (tmp_path / "out.csv").exists()


def test_a_store_that_is_none_or_of_rain(tiny_pattern_run, tiny_pattern_store, tmp_path):
    message = refusal(3, "evaluate", tiny_pattern_run, tmp_path, "-o", tmp_path / "out")
    assert str(tmp_path) in message
    other = shutil.copytree(tiny_pattern_store.path, tmp_path / "rain")
    meta = json.loads((other / "store.json").read_text())
    (other / "store.json").write_text(json.dumps(meta | {"kind": "rain"}))
    message = refusal(3, "evaluate", tiny_pattern_run, other, "-o", tmp_path / "out")
    assert "a store of the other system; found rain, expected patterns" in message
