"""The ONNX file: run by onnxruntime alone it splits as the model does in torch."""

import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import onnxruntime
import pytest
import torch
import typer
from small_networks import spread_out
from typer.testing import CliRunner

from tenkizu.core.errors import CheckFailed, ConfigError
from tenkizu.core.normaliser import ChannelScale
from tenkizu.rain import onnx_export
from tenkizu.rain.baselines import Climatology
from tenkizu.rain.cli_export import export as export_command
from tenkizu.rain.config import ModelConfig
from tenkizu.rain.dataset import assemble
from tenkizu.rain.model import Disaggregator, RainModel, export
from tenkizu.rain.motion import motion_hours
from tenkizu.rain.onnx_export import export_onnx

DOCS = Path(__file__).parents[2] / "docs" / "rain.md"
START = np.datetime64("2023-06-01T03:00", "m")
SIZE = (16, 24)
NAMES = ["S", "P", "P_present", "N", "N_present", "hour_sin", "S_dx", "M4", "M5", "M6"]
SMALL = dict(embed_dim=8, depths=[2, 1], num_heads=[1, 2], window_size=2, patch_size=2)


def write_model(folder, seed=1, **options):
    """A model folder with a small network, all of whose parameters count."""
    config = ModelConfig(**SMALL, **options)
    scales = [
        ChannelScale(name, "mm", "log1p", 0.3, 0.6)
        if name[0] in "SPNM" and len(name) <= 2
        else ChannelScale(name, "1")
        for name in NAMES
    ]
    torch.manual_seed(seed)
    # Wilder weights give logits so large that torch differs from itself by more than 1e-4 mm, when
    # the same windows come in batches of another size.
    net = spread_out(Disaggregator(config, scales), 0.1)
    with torch.no_grad():
        net.network.head.weight.mul_(seed / 2)
    details = {"name": "small", "climatology": Climatology.empty().to_json()}
    details |= {"grid": {"shape": [15, 21]}, "spacing_range_km": [1.0, 11.0]}
    return export(folder, net, config, details)


def windows(hourly):
    """Windows (6, H, W) in the order P, y4, y5, y6, S, N of consecutive hours; S up to 200 mm."""
    threes = hourly.reshape(-1, 3, *hourly.shape[1:])
    threes = threes * (200.0 / threes[1:-1].sum(axis=1).max())
    totals = threes.sum(axis=1)
    return [
        np.concatenate([totals[i - 1][None], threes[i], totals[[i, i + 1]]]).astype(np.float32)
        for i in range(1, len(threes) - 1)
    ]


def planes(names, rain):
    """Inputs of the file for one window: channels (C, H, W) and total (1, H, W)."""
    carried = dict(zip(("M4", "M5", "M6"), motion_hours(rain[0], rain[4], rain[5]), strict=True))
    return assemble(names, rain, START, carried), rain[4:5]


def run_file(file, rains):
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    channels = json.loads(session.get_modelmeta().custom_metadata_map["channels"])
    inputs = [planes([channel["name"] for channel in channels], rain) for rain in rains]
    channels, total = map(np.stack, zip(*inputs, strict=True))
    return session.run(["rain_1h"], {"channels": channels, "total": total})[0]


def check_as_torch(file, model, rains):
    """Batches of 1, 2 and 5 windows give what the model gives window by window."""
    assert max(np.nanmax(rain[4]) for rain in rains) == pytest.approx(200)
    expected = np.stack([model.net.split(rain, START) for rain in rains])
    for batch in (1, 2, 5):
        found = run_file(file, rains[:batch])
        assert np.nanmax(np.abs(found - expected[:batch])) <= 1e-4
        np.testing.assert_array_equal(np.isnan(found), np.isnan(expected[:batch]))


@pytest.fixture(scope="module")
def rains(moving_rain):
    made = windows(moving_rain(21, SIZE, seed=4))
    made[0][4, :3, :5] = np.nan
    made[1][0] = np.nan
    return made


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return write_model(
        tmp_path_factory.mktemp("onnx") / "model",
        prior="motion",
        temperature="dynamic",
        full_resolution_skip=True,
    )


@pytest.fixture(scope="module")
def command():
    app = typer.Typer()
    app.command()(export_command)
    return lambda *words: CliRunner().invoke(app, [str(word) for word in words])


@pytest.fixture(scope="module")
def exported(folder, command):
    """The file, and what the command said of it."""
    file = folder.parent / "small.onnx"
    result = command(folder, "-o", file)
    assert result.exit_code == 0, result.output
    return file, result.output


class Copy:
    """In place of what torch made of a model: another file."""

    def __init__(self, file):
        self.file = file
        self.model = self
        self.metadata_props = {}

    def save(self, path, external_data):
        shutil.copyfile(self.file, path)


def test_any_number_of_windows_gives_the_hours_of_torch(exported, folder, rains):
    check_as_torch(exported[0], RainModel.load(folder, device="cpu"), rains)


def test_hours_add_up_dry_stays_dry_and_missing_missing(exported, rains):
    hours = run_file(exported[0], rains)
    total = np.stack([rain[4] for rain in rains])
    known = ~np.isnan(total)
    assert (hours >= 0)[np.broadcast_to(known[:, None], hours.shape)].all()
    assert (np.abs(hours.sum(axis=1) - total)[known] <= 1e-5 * total[known]).all()
    assert (total == 0).sum() > 100
    assert (hours.transpose(1, 0, 2, 3)[:, total == 0] == 0).all()
    assert np.isnan(hours[0, :, :3, :5]).all()


def test_the_network_has_its_say(exported, rains):
    carried = motion_hours(rains[2][0], rains[2][4], rains[2][5])
    assert np.abs(run_file(exported[0], rains[2:3])[0] - carried).max() > 1


def test_a_missing_total_may_be_missing_among_the_channels_too(exported, rains):
    channels, total = planes(NAMES, rains[0])
    session = onnxruntime.InferenceSession(str(exported[0]), providers=["CPUExecutionProvider"])
    as_it_is = session.run(None, {"channels": channels[None], "total": total[None]})[0]
    channels[0] = total[0]
    assert np.isnan(channels[0]).any()
    with_gaps = session.run(None, {"channels": channels[None], "total": total[None]})[0]
    np.testing.assert_array_equal(with_gaps, as_it_is)


def test_the_file_says_what_it_is(exported, folder):
    session = onnxruntime.InferenceSession(str(exported[0]), providers=["CPUExecutionProvider"])
    about = session.get_modelmeta().custom_metadata_map
    channels = json.loads(about["channels"])
    assert [channel["name"] for channel in channels] == NAMES
    assert [channel["units"] for channel in channels][:3] == ["mm", "mm", "1"]
    assert all(channel["meaning"] for channel in channels)
    assert about["model"] == "small"
    assert about["weights_sha256"] == RainModel.load(folder).metadata["weights_sha256"]
    assert json.loads(about["spacing_range_km"]) == [1.0, 11.0]
    assert len(json.loads(about["hours"])) == 3
    # The grid of the training, 15 x 21, in whole windows of 8 cells.
    assert json.loads(about["size"]) == [16, 24]
    assert [(i.name, i.shape) for i in session.get_inputs()] == [
        ("channels", ["batch", 10, 16, 24]),
        ("total", ["batch", 1, 16, 24]),
    ]
    assert session.get_outputs()[0].shape == ["batch", 3, 16, 24]


def test_the_command_tells_inputs_output_size_and_difference(exported):
    file, said = exported
    assert f"{file} ({file.stat().st_size / 1e6:.1f} MB)" in said
    assert "channels (B x 10 x 16 x 24)" in said
    assert ", ".join(NAMES) in said
    assert "rain_1h (B x 3 x 16 x 24), float32, mm" in said
    assert float(re.search(r"difference to torch: (\S+) mm", said)[1]) <= 1e-4
    assert [path.name for path in sorted(file.parent.iterdir())] == ["model", "small.onnx"]


def test_the_example_of_the_docs_runs(exported, folder, rains, tmp_path, monkeypatch):
    section = DOCS.read_text().split("## The model elsewhere: ONNX")[1].split("\n## ")[0]
    (code,) = re.findall(r"```python\n(.*?)```", section, re.DOTALL)
    rain = rains[1]
    named = dict(zip(NAMES, planes(NAMES, rain)[0], strict=True))
    given = {name: plane for name, plane in named.items() if not name.endswith("_present")}
    monkeypatch.chdir(tmp_path)
    np.savez("window.npz", **given)
    shutil.copyfile(exported[0], "model.onnx")
    # The lines of the page as they stand.
    exec(code, {})
    expected = RainModel.load(folder, device="cpu").net.split(rain, START)
    np.testing.assert_allclose(np.load("hours.npy"), expected, rtol=0, atol=1e-4)


def test_a_file_that_differs_is_not_kept(exported, tmp_path, monkeypatch):
    other = write_model(
        tmp_path / "other",
        seed=2,
        prior="motion",
        temperature="dynamic",
        full_resolution_skip=True,
    )
    output = tmp_path / "files" / "other.onnx"
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: Copy(exported[0]))
    with pytest.raises(CheckFailed, match=r"do not agree.*\n.*exported folder"):
        export_onnx(other, output)
    assert list(output.parent.iterdir()) == []


def test_without_onnxruntime_it_says_that_nothing_was_compared(
    exported, folder, command, tmp_path, monkeypatch
):
    monkeypatch.setattr(torch.onnx, "export", lambda *_, **__: Copy(exported[0]))
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    result = command(folder, "-o", tmp_path / "small.onnx")
    assert "not compared with torch" in result.output
    assert (tmp_path / "small.onnx").is_file()


@pytest.mark.parametrize("library", ["onnx", "onnxscript"])
def test_without_onnx_it_says_what_to_install(folder, tmp_path, monkeypatch, library):
    monkeypatch.setitem(sys.modules, library, None)
    with pytest.raises(ConfigError, match=r"pip install 'tenkizu\[onnx\]'"):
        export_onnx(folder, tmp_path / "small.onnx")


@pytest.mark.parametrize("size", ["64", "64x", "ax5", "0x64"])
def test_a_size_is_rows_x_columns(folder, command, tmp_path, size):
    result = command(folder, "-o", tmp_path / "small.onnx", "--size", size)
    assert isinstance(result.exception, ConfigError)
    assert not list(tmp_path.iterdir())


def test_weights_of_more_than_two_gigabytes_are_refused(folder, tmp_path, monkeypatch):
    monkeypatch.setattr(onnx_export, "LARGEST_BYTES", 1000)
    with pytest.raises(ConfigError, match="do not fit into one ONNX file"):
        export_onnx(folder, tmp_path / "small.onnx")


@pytest.mark.slow
@pytest.mark.parametrize(
    "options",
    [
        {"prior": "linear"},
        {"prior": "linear", "upsampling": "bilinear", "full_resolution_skip": False},
        {"prior": "none", "temperature": "global"},
        {"prior": "none", "head": "direct"},
        {"prior": "none", "head": "direct", "rescale": True},
    ],
)
def test_every_kind_of_network_goes_through(options, rains, tmp_path):
    model = write_model(tmp_path / "model", **options)
    made = export_onnx(model, tmp_path / "model.onnx")
    assert made.difference_mm <= 1e-4
    loaded = RainModel.load(model, device="cpu")
    if options.get("head") == "direct" and not options.get("rescale"):
        # Its amounts have no link to S, and so no size that could be foreseen.
        hours = run_file(made.path, rains)
        expected = np.stack([loaded.net.split(rain, START) for rain in rains])
        np.testing.assert_allclose(hours, expected, rtol=0, atol=1e-4)
    else:
        check_as_torch(made.path, loaded, rains)


@pytest.mark.slow
def test_a_size_that_is_no_multiple_is_continued_inside(folder, moving_rain, tmp_path):
    made = export_onnx(folder, tmp_path / "odd.onnx", (13, 22))
    assert made.size == (13, 22)
    odd = windows(moving_rain(21, (13, 22), seed=5))
    check_as_torch(made.path, RainModel.load(folder, device="cpu"), odd)


@pytest.mark.slow
def test_the_shipped_model_on_its_tile(moving_rain, tmp_path):
    made = export_onnx("rain-only", tmp_path / "rain-only.onnx")
    assert made.size == (64, 64)
    assert made.path.stat().st_size < 6e6
    tile = windows(moving_rain(21, (64, 64), seed=6))
    tile[0][4, 10:20, 10:20] = np.nan
    check_as_torch(made.path, RainModel.load("rain-only", device="cpu"), tile)
