"""`predict`: hourly rain from a file of 3-hour (or hourly) totals, as CF NetCDF."""

import logging
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import h5netcdf
import numpy as np

from tenkizu import __version__
from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.store import atomic
from tenkizu.rain.hourly import RainSeries, SourceOptions, open_rain, read_window, window_starts
from tenkizu.rain.preparation import Track, to_rain
from tenkizu.rain.tables import Rain

if TYPE_CHECKING:
    from tenkizu.rain.model import RainModel

log = logging.getLogger(__name__)

EPOCH = np.datetime64("1970-01-01T00:00", "m")
SUM_TOLERANCE = 1e-5
"""Largest accepted |sum of hours - S| / S."""


def predict(
    model: str | Path,
    data: str | Path,
    output: str | Path,
    options: SourceOptions | None = None,
    window_start: int = 0,
    share: bool = False,
    track: Track | None = None,
) -> Path:
    """Split every complete 3-hour window of a file into hours.

    Args:
        model: a run folder, an exported model folder or a shipped model's name.
        data: NetCDF of 3-hourly, hourly or sub-hourly rain; only its 3-hour totals are used.
        output: NetCDF file to write; rows and columns stay in the order of the input.
        options: what the file does not say about itself.
        window_start: hour (UTC, modulo 3) at which windows begin.
        share: also write each hour's share of its total.
        track: shows progress.

    Returns:
        The output file: ``rain_1h`` (time, y, x) in mm with ``time`` the end of each hour and its
        bounds, and ``rain_3h`` (window, y, x), the given totals.

    Raises:
        ConfigError: the output would overwrite the input, or shares are asked of a model without.
        DataError: the model or the file cannot be used.
    """
    from tenkizu.rain.model import RainModel

    output = Path(output)
    if output.exists() and output.samefile(data):
        raise ConfigError("the output is the input file", file=output)
    loaded = RainModel.load(model)
    if share and not loaded.net.conserves:
        raise ConfigError(
            "this model's hours do not add to the total, so they have no shares",
            variable="share",
            next_step="leave --share out, or use a model with model.rescale=true",
        )
    loaded.require_rain_alone(data)
    with open_rain(data, options) as series:
        for note in filter(None, [*series.notes, loaded.check_grid(series.grid)]):
            log.warning("%s: %s", series.path.name, note)
        starts = window_starts(series, window_start)
        follow = track or (lambda items, _: items)
        with atomic(output) as part, h5netcdf.File(part, "w") as file:
            writer = _Writer(file, series, starts, loaded, share)
            for i, start in enumerate(follow(starts, "predicting")):
                rain = to_rain(read_window(series, start))
                writer.write(i, rain[4], loaded.split(rain, start, series.grid))
    return output


class _Writer:
    """Writes windows one by one, so that memory does not grow with the file."""

    def __init__(
        self,
        file: h5netcdf.File,
        series: RainSeries,
        starts: list[np.datetime64],
        model: "RainModel",
        share: bool,
    ) -> None:
        self.file, self.series, self.share = file, series, share
        # A direct head has no link to S, and says so in model.json.
        self.conserves = model.net.conserves
        grid = series.grid
        rows, columns = grid.y_name, grid.x_name
        file.dimensions = {
            "time": 3 * len(starts),
            "window": len(starts),
            "bounds": 2,
            rows: grid.shape[0],
            columns: grid.shape[1],
        }
        file.attrs.update(
            {
                "Conventions": "CF-1.11",
                "title": "Hourly rain disaggregated from 3-hour totals",
                "source": f"tenkizu {__version__}, model {model.metadata.get('name')}, weights "
                f"{model.weights_hash}; totals from {series.path.name} ({series.variable})",
                "history": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} tenkizu rain predict",
                "tenkizu_model": str(model.metadata.get("name")),
                "tenkizu_weights_sha256": str(model.metadata["weights_sha256"]),
            }
        )
        self._times(np.array(starts, "datetime64[m]"))
        # orient() turns the last two axes; a column and a row turn one each.
        self._coordinate(rows, series.orient(grid.y[:, None])[:, 0])
        self._coordinate(columns, series.orient(grid.x[None, :])[0])
        self._variable(
            "rain_1h",
            ("time", rows, columns),
            {
                "standard_name": "lwe_thickness_of_precipitation_amount",
                "long_name": "rain in the hour ending at time",
                "units": "mm",
                "cell_methods": "time: sum (interval: 1 hour)",
                "coordinates": "forecast_reference_time",
            },
        )
        self._variable(
            "rain_3h",
            ("window", rows, columns),
            {
                "standard_name": "lwe_thickness_of_precipitation_amount",
                "long_name": "given rain in the three hours ending at window",
                "units": "mm",
                "cell_methods": "window: sum (interval: 3 hours)",
            },
        )
        if share:
            self._variable(
                "share",
                ("time", rows, columns),
                {
                    "long_name": "share of the hour in its 3-hour total; missing where that is 0",
                    "units": "1",
                    "valid_range": np.array([0, 1], np.float32),
                },
            )

    def _times(self, starts: Any) -> None:  # noqa: ANN401
        """Time axes in minutes since 1970, with bounds; hours end 1, 2, 3 h after the start."""
        minutes = (starts - EPOCH).astype(np.int64)
        hour_ends = (minutes[:, None] + np.array([60, 120, 180])).ravel()
        units = {"units": "minutes since 1970-01-01 00:00:00", "calendar": "standard"}
        axes = {
            "time": (
                ("time",),
                hour_ends,
                {
                    "standard_name": "time",
                    "axis": "T",
                    "long_name": "end of the hour",
                    "bounds": "time_bnds",
                },
            ),
            "time_bnds": (("time", "bounds"), np.stack([hour_ends - 60, hour_ends], 1), {}),
            "window": (
                ("window",),
                minutes + 180,
                {
                    "standard_name": "time",
                    "long_name": "end of the 3-hour window",
                    "bounds": "window_bnds",
                },
            ),
            "window_bnds": (("window", "bounds"), np.stack([minutes, minutes + 180], 1), {}),
            "forecast_reference_time": (
                ("time",),
                np.repeat(minutes - 180, 3),
                {
                    "standard_name": "forecast_reference_time",
                    "long_name": "t0 of the window, three hours before its start",
                },
            ),
        }
        for name, (dimensions, values, attributes) in axes.items():
            variable = self.file.create_variable(name, dimensions, np.int64, data=values)
            variable.attrs.update(attributes | ({} if name.endswith("_bnds") else units))

    def _coordinate(self, name: str, values: Any) -> None:  # noqa: ANN401
        grid = self.series.grid
        if grid.kind == "index":
            return
        variable = self.file.create_variable(name, (name,), np.float64, data=values)
        row = name == grid.y_name
        if grid.kind == "latlon":
            kind = "latitude" if row else "longitude"
            units = "degrees_north" if row else "degrees_east"
        else:
            kind = f"projection_{'y' if row else 'x'}_coordinate"
            units = grid.units
        variable.attrs.update({"standard_name": kind, "units": units, "axis": "Y" if row else "X"})

    def _variable(self, name: str, dimensions: tuple[str, ...], attributes: dict[str, Any]) -> None:
        # zlib, not zstd: every NetCDF tool reads it without a plugin.
        variable = self.file.create_variable(
            name,
            dimensions,
            np.float32,
            fillvalue=np.float32(np.nan),
            chunks=(1, *self.series.grid.shape),
            compression="gzip",
            compression_opts=1,
            shuffle=True,
        )
        variable.attrs.update(attributes)

    def write(self, index: int, total: Rain, hours: Rain) -> None:
        """Write one window after checking its sum.

        Raises:
            DataError: the hours do not add to S; the file is not kept.
        """
        departure = np.abs(hours.sum(axis=0, dtype=np.float64) - total)
        wrong = (departure > SUM_TOLERANCE * total) & self.conserves
        if wrong.any():
            raise DataError(
                "the hours do not add to the total",
                file=self.series.path,
                variable="rain_1h",
                found=f"{int(wrong.sum())} cells, up to {np.nanmax(departure):g} mm",
                expected=f"at most {SUM_TOLERANCE:g} of the total",
                next_step="report this as a bug with the model and the file",
            )
        orient = self.series.orient
        window = slice(3 * index, 3 * index + 3)
        self.file["rain_1h"][window] = orient(hours)
        self.file["rain_3h"][index] = orient(total)
        if self.share:
            with np.errstate(invalid="ignore", divide="ignore"):
                self.file["share"][window] = orient(np.where(total > 0, hours / total, np.nan))
