"""The command as a user meets it: help, configurations, every shipped YAML, every exit code."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from tenkizu import cli
from tenkizu.core.config_tree import read_tree

CONFIGS = Path(__file__).parent.parent / "configs"
# The hours that are left of each source, few but with rain: the motion of every window of the whole
# periods would take minutes. Those of the last three begin off 00, 03, ... UTC.
PERIODS = {
    "imerg": {
        "train": ["2023-11-11T00/2023-11-11T06"],
        "validation": ["2023-11-17T00/2023-11-17T03"],
        "test": ["2023-11-02T00/2023-11-02T06"],
    },
    "radolan_yw": {
        "train": ["2018-05-12T15/2018-05-12T19", "2018-05-19T12/2018-05-19T15"],
        "validation": ["2018-05-10T12/2018-05-10T15"],
        "test": ["2018-05-16T12/2018-05-16T18"],
    },
    "radolan_rw": {"train": ["2022-10-18T02/2022-10-18T06"]},
    "knmi_radar": {"train": ["2010-08-26T02/2010-08-26T06"]},
    "msg_crr": {"train": ["2018-06-01T11/2018-06-01T14"]},
}
SHORT = [
    "train.epochs=1", "train.batch_size=8", "plots.cases=0", "scores.thresholds_1h=[1]",
    "scores.fss_windows=[9]",
]  # fmt: skip
SMALL = ["model.embed_dim=8", "model.depths=[1,1]", "model.num_heads=[1,2]"]


def shortened(config):
    """Overrides that leave few hours and tiles of a shipped run, and all else as it is."""
    _, tree = read_tree(config)
    sources = []
    for source in (tree["data"], *tree["data"].get("more", [])):
        name = next(name for name in PERIODS if source["files"][0].startswith(f"sample:{name}"))
        sources.append(source | {"splits": PERIODS[name], "tiles_per_window": 4})
    first, *more = sources
    few = [f"data.{key}={json.dumps(first[key])}" for key in ("splits", "tiles_per_window")]
    return [*SHORT, *few, *([f"data.more={json.dumps(more)}"] if more else [])]


@pytest.fixture
def run(monkeypatch, capsys):
    """Run a command line in this process; returns exit code, standard output and error output."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["tenkizu", *map(str, arguments)])
        with pytest.raises(SystemExit) as stop:
            cli.main()
        out, err = capsys.readouterr()
        return stop.value.code or 0, out, err

    return call


def test_help_loads_nothing_heavy_and_teaches():
    code = (
        "import sys; sys.argv=['tenkizu','--help']\n"
        "from tenkizu import cli\n"
        "try: cli.main()\n"
        "except SystemExit: pass\n"
        "heavy={'torch','pytorch_lightning','xarray','pandas','numpy','pydantic','matplotlib'}\n"
        "print('LOADED', sorted(heavy & set(sys.modules)))\n"
    )
    shown = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert shown.stdout.splitlines()[-1] == "LOADED []"
    for word in ("demo", "doctor", "models", "rain", "config"):
        assert word in shown.stdout


@pytest.mark.parametrize("command", ["prepare", "train", "evaluate", "predict"])
def test_each_rain_command_has_help_and_a_plain_function(run, command):
    code, out, _ = run("rain", command, "--help")
    assert code == 0
    assert "--help" in out
    import tenkizu.rain

    assert callable(getattr(tenkizu.rain, command))
    assert getattr(tenkizu.rain, command).__doc__


@pytest.mark.parametrize(
    "config", sorted(CONFIGS.glob("rain_[!m]*.yaml")), ids=lambda path: path.stem
)
def test_every_shipped_rain_configuration_runs_through_the_real_commands(run, tmp_path, config):
    where = [f"run.dir={tmp_path}", f"data.store={tmp_path / 'store'}", *shortened(config)]
    code, out, err = run("config", "check", config, *SHORT)
    assert (code, out) == (0, f"{config}: ok\n"), err
    code, out, err = run("rain", "prepare", config, *where)
    assert code == 0, err
    assert "equal-split 1 h RMSE" in out
    code, out, err = run("rain", "train", config, *where, "--dry-run")
    assert code == 0, err
    assert "total" in out
    code, out, err = run("rain", "train", config, *where)
    assert code == 0, err
    assert "linear interpolation" in out
    folder = tmp_path / config.stem
    scores = [json.loads(path.read_text()) for path in folder.glob("evaluation/test*/scores.json")]
    assert len(scores) == (2 if config.stem == "rain_only" else 1)
    for one in scores:
        assert one["n_windows"] == 2
        assert one["mse_skill"]["conditional"] > -1
    # What is special about a file has run: all that was not shortened is as it ships.
    trained = json.loads((folder / "model.json").read_text())["config"]
    changed = {override.partition("=")[0] for override in where}
    for section, keys in read_tree(config)[1].items():
        for key, value in keys.items() if section != "kind" else ():
            assert f"{section}.{key}" in changed or trained[section][key] == value, key
    code, out, err = run("models", folder)
    assert code == 0, err
    assert "trained on" in out


def test_the_shipped_configurations_reach_a_user_without_the_repository(run, tmp_path):
    for config in CONFIGS.glob("*.yaml"):
        copy = tmp_path / config.name
        assert run("config", "new", config.stem, "-o", copy)[0] == 0
        assert copy.read_text() == config.read_text()
        code, _, err = run("config", "new", config.stem, "-o", copy)
        assert (code, "the file exists" in err) == (2, True)


def test_config_show_schema_and_new(run, tmp_path):
    demo = CONFIGS / "rain_demo.yaml"
    code, out, _ = run("config", "show", demo, "train.epochs=7")
    assert code == 0
    assert "epochs: 7" in out
    copy = tmp_path / "resolved.yaml"
    copy.write_text(out)
    assert run("config", "show", copy)[1] == out
    code, out, _ = run("config", "schema", "rain")
    assert json.loads(out)["properties"]["data"]
    code, out, _ = run("config", "new", "rain")
    assert code == 0
    assert "# required" in out
    code, _, err = run("config", "check", demo, "train.epoch=3")
    assert code == 2
    assert "did you mean train.epochs?" in err


def test_models_shows_the_reference_network_by_part(run):
    code, out, _ = run("models", "v5")
    assert code == 0
    assert "65,019,800" in out
    assert "111,418,992" in out
    code, out, _ = run("models")
    assert "111,418,992" in out
    code, _, err = run("models", "nonsense")
    assert code == 3
    assert "no such model" in err


def test_doctor_and_version(run):
    code, out, _ = run("doctor")
    assert code == 0, out
    assert "torch" in out
    assert run("--version")[1].startswith("tenkizu 0.")


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A model folder, trained for a moment on shipped rain; its skill does not matter here."""
    from tenkizu.core.config import load_config
    from tenkizu.rain import train
    from tenkizu.rain.config import RainConfig

    folder = tmp_path_factory.mktemp("model")
    demo = CONFIGS / "rain_demo.yaml"
    where = [f"run.dir={folder}", f"data.store={folder / 'store'}", *shortened(demo)]
    quick = ["data.context=[s,p,n]", "model.prior=linear", *SMALL]
    return train(load_config(RainConfig, demo, [*where, *quick]))


def rain_file(path, values, step="1h", first="2024-07-01T01:00", name="rain", attrs=None, **axes):
    """Write (time, lat, lon) rain over Japan, by default hourly mm with stamps at the end."""
    attrs = {"units": "mm", "long_name": "rain in the hour ending at time"} | (attrs or {})
    attrs = {key: value for key, value in attrs.items() if value is not None}
    height, width = values.shape[1:]
    start = np.datetime64(first, "ns")
    unit = np.timedelta64(int(step[:-1]), step[-1])
    coordinates = {
        "time": start + np.arange(len(values)) * unit,
        # The spacing of the rain that the model is trained on.
        "lat": ("lat", 36 - 0.1 * np.arange(height), {"units": "degrees_north"}),
        "lon": ("lon", 134 + 0.1 * np.arange(width), {"units": "degrees_east"}),
    } | axes
    dataset = xr.Dataset({name: (("time", "lat", "lon"), values, attrs)}, coordinates)
    dataset.to_netcdf(path, engine="h5netcdf")
    return path


def showers(hours=24, shape=(30, 41), seed=3):
    """Hourly rain in mm, two thirds dry, in multiples of 0.01."""
    random = np.random.default_rng(seed)
    rain = random.gamma(0.5, 6.0, (hours, *shape)) * (random.random((hours, *shape)) < 0.33)
    return rain.round(2)


def test_evaluate_writes_the_promised_numbers(run, model, tmp_path):
    rain = showers()
    rain[5, 3, 4] = np.nan
    file = rain_file(tmp_path / "rain.nc", rain)
    code, out, err = run("rain", "evaluate", model, file, "-o", tmp_path / "out", "--cases", 1)
    assert code == 0, err
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["n_windows"] == 8
    assert {"model", "equal", "linear", "climatological"} <= scores["rmse_1h"].keys()
    assert scores["max_relative_sum_error"] <= 1e-5
    # S/3 by hand, without the cell whose hour is missing.
    windows = rain.reshape(8, 3, *rain.shape[1:])
    known = ~np.isnan(windows).any(axis=1, keepdims=True) & np.ones_like(windows, bool)
    error = (windows - windows.mean(axis=1, keepdims=True))[known]
    assert scores["rmse_1h"]["equal"] == pytest.approx(np.sqrt(np.mean(error**2)), rel=1e-5)
    assert scores["n_cells"] == 8 * 30 * 41 - 1
    for key in ("all", "conditional"):
        assert isinstance(scores["mse_skill"][key], float)
    # The window with most rain, the best and the worst, of which two may be one.
    drawn = {path.stem for path in (tmp_path / "out" / "panels_log").glob("*.png")}
    most, best, worst = (f"validation_{label}" for (label,) in scores["cases"].values())
    assert drawn == {most, best, worst}
    assert "linear interpolation" in out
    assert "n_windows" not in (tmp_path / "out" / "evaluation.txt").read_text()


def test_predict_takes_hourly_and_three_hourly_rain_alike(run, model, tmp_path):
    rain = showers()
    totals = rain.reshape(8, 3, *rain.shape[1:]).sum(axis=1)
    hourly = rain_file(tmp_path / "hourly.nc", rain)
    metres = {"units": "m", "long_name": "Total precipitation"}
    three = rain_file(
        tmp_path / "three.nc", totals / 1000, "3h", "2024-07-01T03:00", "tp", metres,
    )  # fmt: skip
    for file in (hourly, three):
        code, _, err = run("rain", "predict", model, file, "-o", f"{file}.out.nc", "--share")
        assert code == 0, err
    with (
        xr.open_dataset(f"{hourly}.out.nc") as one,
        xr.open_dataset(f"{three}.out.nc") as other,
    ):
        assert one.sizes["time"] == 24
        assert one["time"].values[0] == np.datetime64("2024-07-01T01:00")
        np.testing.assert_array_equal(one["time"].values, other["time"].values)
        np.testing.assert_allclose(one["rain_1h"], other["rain_1h"], atol=1e-4)
        hours = one["rain_1h"].values.astype(float).reshape(8, 3, 30, 41)
        given = one["rain_3h"].values.astype(float)
        np.testing.assert_allclose(given, totals, rtol=1e-6)
        assert np.all(np.abs(hours.sum(axis=1) - given) <= 1e-5 * given)
        assert np.all(hours.transpose(0, 2, 3, 1)[totals == 0] == 0)
        shares = one["share"].values.reshape(8, 3, 30, 41).sum(axis=1)
        np.testing.assert_allclose(shares[totals > 0], 1, atol=1e-5)
        assert np.isnan(shares[totals == 0]).all()
        assert one["rain_1h"].attrs["units"] == "mm"
        bounds = one["time_bnds"].values
        assert (bounds[:, 1] == one["time"].values).all()
        assert ((bounds[:, 1] - bounds[:, 0]) == np.timedelta64(1, "h")).all()
        assert one["forecast_reference_time"].values[0] == np.datetime64("2024-06-30T21:00")
        assert one.attrs["Conventions"].startswith("CF-")


def test_predict_keeps_the_orientation_of_the_file(run, model, tmp_path):
    rain = showers(6)
    north = rain_file(tmp_path / "north.nc", rain)
    south = tmp_path / "south.nc"
    with xr.open_dataset(north) as dataset:
        dataset.isel(lat=slice(None, None, -1)).transpose("time", "lon", "lat").to_netcdf(south)
    for file in (north, south):
        assert run("rain", "predict", model, file, "-o", f"{file}.out.nc")[0] == 0
    with (
        xr.open_dataset(f"{north}.out.nc") as one,
        xr.open_dataset(f"{south}.out.nc") as other,
    ):
        assert other["lat"].values[0] < other["lat"].values[-1]
        turned = other["rain_1h"].sortby("lat", ascending=False).transpose("time", "lat", "lon")
        np.testing.assert_array_equal(one["rain_1h"], turned)
        np.testing.assert_allclose(one["lat"], other["lat"][::-1])


def test_predict_windows_begin_where_the_user_says(run, model, tmp_path):
    file = rain_file(tmp_path / "rain.nc", showers(10))
    out = tmp_path / "out.nc"
    assert run("rain", "predict", model, file, "-o", out, "--window-start", 1)[0] == 0
    with xr.open_dataset(out) as dataset:
        assert dataset["time"].values[0] == np.datetime64("2024-07-01T02:00")
        assert dataset.sizes["time"] == 9


def test_an_assumed_time_stamp_is_said_aloud(run, model, tmp_path, caplog):
    file = rain_file(tmp_path / "rain.nc", showers(6), attrs={"long_name": None})
    code, _, err = run("rain", "predict", model, file, "-o", tmp_path / "out.nc")
    assert code == 0
    assert "--time-stamp start" in err
    code, _, err = run(
        "rain", "predict", model, file, "-o", tmp_path / "out.nc", "--time-stamp", "start"
    )
    assert code == 0
    assert "--time-stamp" not in err
    with xr.open_dataset(tmp_path / "out.nc") as dataset:
        assert dataset["time"].values[0] == np.datetime64("2024-07-01T04:00")


def text_file(path):
    path.write_text("not a NetCDF file")
    return path


def truncated(path):
    rain_file(path, showers())
    path.write_bytes(path.read_bytes()[:5000])
    return path


BAD_INPUT = {
    "absent": (lambda p: p, "no such file"),
    "not NetCDF": (text_file, "not a NetCDF"),
    "truncated": (truncated, "truncated"),
    "GRIB": (lambda p: p.write_bytes(b"GRIB" + bytes(200)) and p, "GRIB"),
    "no units": (lambda p: rain_file(p, showers(), attrs={"units": None}), "units"),
    "unknown units": (lambda p: rain_file(p, showers(), attrs={"units": "K"}), "units"),
    "negative": (lambda p: rain_file(p, showers() - 1), "negative rain"),
    "infinite": (lambda p: rain_file(p, np.full((6, 4, 5), np.inf)), "infinite"),
    "6-hourly": (lambda p: rain_file(p, showers(4), "6h"), "3-hour"),
    "two hours": (lambda p: rain_file(p, showers(2)), "no complete window"),
    "other hours": (
        lambda p: rain_file(p, showers(4), "3h", "2024-07-01T04:00"),
        "--window-start 1",
    ),
}


@pytest.mark.parametrize("name", BAD_INPUT)
def test_bad_input_is_one_clear_error_and_writes_nothing(run, model, tmp_path, name):
    make, message = BAD_INPUT[name]
    file = make(tmp_path / "bad.nc")
    before = set(tmp_path.iterdir())
    code, _, err = run("rain", "predict", model, file, "-o", tmp_path / "out.nc")
    assert code == 3, err
    assert message in err
    assert str(file) in err
    assert "Traceback" not in err
    assert set(tmp_path.iterdir()) == before


def test_evaluation_of_totals_and_damaged_models_are_refused(run, model, tmp_path):
    three = rain_file(tmp_path / "three.nc", showers(8), "3h", "2024-07-01T03:00")
    code, _, err = run("rain", "evaluate", model, three, "-o", tmp_path / "out")
    assert (code, "evaluation needs the true hours" in err) == (3, True)
    broken = tmp_path / "broken"
    broken.mkdir()
    for name in ("model.json", "model.safetensors"):
        (broken / name).write_bytes((model / name).read_bytes())
    described = json.loads((broken / "model.json").read_text())
    described["channels"] = described["channels"][:-1]
    (broken / "model.json").write_text(json.dumps(described))
    file = rain_file(tmp_path / "rain.nc", showers(6))
    code, _, err = run("rain", "predict", broken, file, "-o", tmp_path / "out.nc")
    assert (code, "do not fit the described network" in err) == (3, True)
    code, _, err = run("rain", "predict", model, file, "-o", file)
    assert (code, "the output is the input file" in err) == (2, True)
    assert not (tmp_path / "out.nc").exists()


def test_an_all_dry_file_is_split_into_zeros(run, model, tmp_path):
    file = rain_file(tmp_path / "dry.nc", np.zeros((6, 12, 9)))
    assert run("rain", "predict", model, file, "-o", tmp_path / "out.nc")[0] == 0
    with xr.open_dataset(tmp_path / "out.nc") as dataset:
        assert (dataset["rain_1h"] == 0).all()
    code, _, err = run("rain", "evaluate", model, file, "-o", tmp_path / "out")
    assert code == 0, err
    scores = json.loads((tmp_path / "out" / "scores.json").read_text())
    assert scores["mse_skill"]["conditional"] is None
    assert scores["n_cells_conditional"] == 0
