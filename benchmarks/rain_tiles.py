"""What rain-aware tiles cost and save, on the shipped real rain.

Run ``python benchmarks/rain_tiles.py`` (some minutes on one core). Two questions:

Prediction: the shipped model splits every window of several files as whole frames and by tiles of
64 x 64 cells, dry ones left out. Printed are the share of tiles with rain, the time of a window
both ways, the share of the frame's area that the tiles pass through the network (they overlap by a
quarter), and the 1 h RMSE both ways over cells with S >= 0.1 mm, which must agree within 1 %.

Training: the network of the demo learns on radar rain of one day over Germany, averaged to 2 km,
on whole frames and on tiles of 64 x 64 cells every 32, drawn by their rain with weights that keep
the loss that of frames. Printed are the time of an epoch without its validation, which is on whole
frames in both, and the validation RMSE of the best epoch.
"""

import argparse
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import torch

from tenkizu.core.config import load_config
from tenkizu.core.samples import input_path, shipped_configs
from tenkizu.core.store import SampleStore, read_json
from tenkizu.rain import train
from tenkizu.rain.config import RainConfig
from tenkizu.rain.dataset import RainDataset
from tenkizu.rain.hourly import open_rain, read_window, window_starts
from tenkizu.rain.model import RainModel
from tenkizu.rain.module import RainModule
from tenkizu.rain.motion import motion_hours
from tenkizu.rain.preparation import prepare, to_rain
from tenkizu.rain.tables import Rain
from tenkizu.rain.tiled_inference import inference_lattice

SIDE, STRIDE = 64, 32

FILES = (
    "imerg_sbrazil_hourly_20231102_03.nc",
    "imerg_sbrazil_hourly_20231111_18.nc",
    "radolan_rw_germany_hourly_20221018.nc",
    "knmi_radar_hourly_20100826.nc",
    "msg_crr_europe_hourly_20180601.nc",
)


def windows_of(file: str, most: int) -> list[tuple[np.datetime64, Rain, Rain]]:
    """Start, rain (6, H, W) and motion hours of windows spread over a file."""
    with open_rain(input_path(f"sample:{file}")) as series:
        starts = window_starts(series)
        chosen = [
            starts[i] for i in np.linspace(0, len(starts) - 1, min(most, len(starts))).astype(int)
        ]
        rain = [to_rain(read_window(series, start)) for start in chosen]
    return [
        (start, one, motion_hours(one[0], one[4], one[5]))
        for start, one in zip(chosen, rain, strict=True)
    ]


def squared(hours: Rain, rain: Rain) -> tuple[float, int]:
    """Sum of squared hourly errors over cells with S >= 0.1 mm, and the number of hours."""
    scored = (rain[4] >= np.float32(0.1)) & ~np.isnan(rain[1:5]).any(axis=0)
    error = (hours - rain[1:4])[:, scored].astype(np.float64)
    return float((error**2).sum()), error.size


def prediction(most: int) -> None:
    """Print the table of prediction."""
    models = [RainModel.load("rain-only", "cpu", tiles=tiles) for tiles in (False, True)]
    print(f"{'file':40} {'cells':>11} {'wet tiles':>9} {'area':>6} {'time':>6} ", end="")
    print(f"{'ms whole':>9} {'ms tiles':>9} {'RMSE mm':>8} {'by tiles':>8} {'ratio':>7}")
    for file in FILES:
        windows = windows_of(file, most)
        with open_rain(input_path(f"sample:{file}")) as series:
            grid = series.grid
        lattice = inference_lattice(grid.shape, SIDE)
        wet = np.mean(
            [[(w[1][4][s] > 0).any() for s in lattice.squares] for w in windows], dtype=np.float64
        )
        tile_cells = np.prod([min(SIDE, size) for size in grid.shape])
        area = wet * len(lattice.squares) * tile_cells / np.prod(grid.shape)
        times, rmse = [], []
        for model in models:
            model.split(windows[0][1], windows[0][0], grid, windows[0][2])  # the first is slow
            began, error, hours = time.perf_counter(), 0.0, 0
            for start, rain, motion in windows:
                own, count = squared(model.split(rain, start, grid, motion), rain)
                error, hours = error + own, hours + count
            times.append(1000 * (time.perf_counter() - began) / len(windows))
            rmse.append(np.sqrt(error / hours))
        size = f"{grid.shape[0]} x {grid.shape[1]}"
        print(
            f"{file:40} {size:>11} {wet:9.2f} {area:6.2f} {times[1] / times[0]:6.2f} "
            f"{times[0]:9.1f} {times[1]:9.1f} {rmse[0]:8.4f} {rmse[1]:8.4f} "
            f"{rmse[1] / rmse[0]:7.4f}"
        )


def training(folder: Path, epochs: int) -> None:
    """Print what training on whole frames and on wet tiles takes and brings."""
    frames = ["data.tile=null", "data.tiles_per_window=null"]
    tiles = [f"data.tile={SIDE}", f"data.tile_stride={STRIDE}", "data.tiles_per_window=null"]
    common = [
        "data.files=[sample:radolan_rw_germany_hourly_20221018.nc]", "data.coarsen=2",
        "data.splits.train=[2022-10-18T00/2022-10-18T15]",
        "data.splits.validation=[2022-10-18T15/2022-10-19T00]", "data.splits.test=[]",
        f"data.store={folder / 'store'}", f"run.dir={folder}", f"train.epochs={epochs}",
        "plots.cases=0", "scores.fss_windows=[]", "train.workers=0",
    ]  # fmt: skip

    def configured(name: str, overrides: Sequence[str]) -> RainConfig:
        return load_config(
            RainConfig, shipped_configs()["rain_demo"], [*common, f"run.name={name}", *overrides]
        )

    first = configured("tiles", tiles)
    store: SampleStore = prepare(first)
    names: list[str] = []
    drawn = RainDataset(store, "train", names, first.data)
    if drawn.tiles is None:
        raise SystemExit("no tiles")
    share = drawn.tiles.wet / len(drawn.tiles.probability)
    shape = tuple(map(len, (store.meta["grid"]["y"], store.meta["grid"]["x"])))
    print(f"\ntraining on {shape[0]} x {shape[1]} cells, {share:.2f} of the tiles wet, ", end="")
    frames_count = len(RainDataset(store, "train", names, configured("frames", frames).data))
    area = len(drawn) * SIDE**2 / (frames_count * np.prod(shape))
    print(f"an epoch of tiles is {area:.2f} of the cells of one of frames")
    results = []
    for name, overrides in (
        # Batches of about as many cells.
        ("frames", [*frames, "train.batch_size=1"]),
        ("tiles", [*tiles, f"train.batch_size={max(round(np.prod(shape) / SIDE**2), 1)}"]),
    ):
        config = configured(name, overrides)
        with stopwatch() as seconds:
            run = train(config)
        history = read_json(run / "history.json", "a training history")
        results.append((float(np.median(seconds)), min(history["val_rmse_1h"])))
        print(f"{name:7} {results[-1][0]:7.1f} s an epoch, validation RMSE {results[-1][1]:.4f} mm")
    (slow, rmse), (fast, other) = results
    print(f"tiles / frames: time {fast / slow:.2f}, RMSE {other / rmse:.4f}")


@contextmanager
def stopwatch() -> Iterator[list[float]]:
    """Seconds of each epoch of a training, from its first to the end of its last batch."""
    seconds: list[float] = []
    first, last = RainModule.on_train_epoch_start, RainModule.on_validation_epoch_start
    began = 0.0

    def start(module: RainModule) -> None:
        nonlocal began
        first(module)
        began = time.perf_counter()

    def stop(module: RainModule) -> None:
        seconds.append(time.perf_counter() - began)
        last(module)

    RainModule.on_train_epoch_start = start  # type: ignore[method-assign]
    RainModule.on_validation_epoch_start = stop  # type: ignore[method-assign]
    try:
        yield seconds
    finally:
        RainModule.on_train_epoch_start = first  # type: ignore[method-assign]
        RainModule.on_validation_epoch_start = last  # type: ignore[method-assign]


def main() -> None:
    """Print both tables."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--windows", type=int, default=16, help="windows of each file")
    parser.add_argument("--epochs", type=int, default=6, help="epochs of training; 0 for none")
    options = parser.parse_args()
    torch.set_num_threads(1)
    prediction(options.windows)
    if options.epochs:
        with tempfile.TemporaryDirectory() as name:
            training(Path(name), options.epochs)


if __name__ == "__main__":
    main()
