"""The NetCDF file of a prediction, written window by window."""

from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import h5netcdf
import numpy as np

from tenkizu import __version__
from tenkizu.rain.cases import Cases
from tenkizu.rain.georeference import Georeference
from tenkizu.rain.tables import Rain

if TYPE_CHECKING:
    from tenkizu.rain.model import RainModel

EPOCH = np.datetime64("1970-01-01T00:00", "m")


class PredictionFile:
    """Writes windows one by one, so that memory does not grow with the file.

    Args:
        path: file to write.
        cases: what is split.
        model: that splits it.
        share: also write each hour's share of its total.
    """

    def __init__(self, path: Path, cases: Cases, model: "RainModel", share: bool) -> None:
        self.cases, self.share = cases, share
        # A new grid is not where the old cells were, but in the same projection.
        self.source = cases.georeference.regridded() if cases.remap else cases.georeference
        self.written: list[int] = []
        self.file = file = h5netcdf.File(path, "w")
        grid = cases.grid
        rows, columns = grid.y_name, grid.x_name
        members = {"member": len(cases.members)} if cases.members else {}
        file.dimensions = {
            # Unlimited: windows that cannot be read take no place.
            "time": None,
            "window": None,
            "bounds": 2,
            **members,
            rows: grid.shape[0],
            columns: grid.shape[1],
        }
        file.attrs.update(
            {
                "Conventions": "CF-1.11",
                "title": "Hourly rain disaggregated from 3-hour totals",
                "source": f"tenkizu {__version__}, model {model.metadata.get('name')}, weights "
                f"{model.weights_hash}; totals from {cases.name} ({cases.variable})",
                "history": f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ} tenkizu rain predict"
                + (f" --regrid conservative: {cases.remap.describe()}" if cases.remap else ""),
                "tenkizu_model": str(model.metadata.get("name")),
                "tenkizu_weights_sha256": str(model.metadata["weights_sha256"]),
            }
        )
        if cases.remap:
            file.attrs["tenkizu_regridding"] = cases.remap.describe()
        self._times()
        source = self.source
        self._georeference(source)
        # orient() turns the last two axes; a column and a row turn one each.
        self._coordinate(rows, cases.orient(grid.y[:, None])[:, 0])
        self._coordinate(columns, cases.orient(grid.x[None, :])[0])
        if cases.remap:
            self._bounds(rows, cases.orient(cases.remap.y_edges[:, None])[:, 0])
            self._bounds(columns, cases.orient(cases.remap.x_edges[None, :])[0])
        if members:
            number = file.create_variable(
                "member", ("member",), np.int32, data=np.array(cases.members, np.int32)
            )
            number.attrs.update(
                {"standard_name": "realization", "long_name": "ensemble member", "units": "1"}
            )
        located = {"coordinates": " ".join(source.coordinates)} if source.coordinates else {}
        if source.grid_mapping:
            located["grid_mapping"] = source.grid_mapping
        self._variable(
            "rain_1h",
            ("time", *members, rows, columns),
            {
                "standard_name": "lwe_thickness_of_precipitation_amount",
                "long_name": "rain in the hour ending at time",
                "units": "mm",
                "cell_methods": "time: sum (interval: 1 hour)",
                **located,
                "coordinates": " ".join(["forecast_reference_time", *source.coordinates]),
            },
        )
        self._variable(
            "rain_3h",
            ("window", *members, rows, columns),
            {
                "standard_name": "lwe_thickness_of_precipitation_amount",
                "long_name": "given rain in the three hours ending at window"
                + ", regridded" * bool(cases.remap),
                "units": "mm",
                "cell_methods": "window: sum (interval: 3 hours)",
                **located,
            },
        )
        if share:
            self._variable(
                "share",
                ("time", *members, rows, columns),
                {
                    "long_name": "share of the hour in its 3-hour total; missing where that is 0",
                    "units": "1",
                    "valid_range": np.array([0, 1], np.float32),
                    **located,
                },
            )

    def _times(self) -> None:
        """Time axes in minutes since 1970, with bounds; `write` fills them."""
        units = {"units": "minutes since 1970-01-01 00:00:00", "calendar": "standard"}
        axes = {
            "time": {
                "standard_name": "time",
                "axis": "T",
                "long_name": "end of the hour",
                "bounds": "time_bnds",
            },
            "time_bnds": {},
            "window": {
                "standard_name": "time",
                "long_name": "end of the 3-hour window",
                "bounds": "window_bnds",
            },
            "window_bnds": {},
            "forecast_reference_time": {
                "standard_name": "forecast_reference_time",
                "long_name": "initial time t0 of the window's forecast",
            },
        }
        for name, attributes in axes.items():
            axis = "window" if name.startswith("window") else "time"
            bounds = name.endswith("_bnds")
            variable = self.file.create_variable(
                name,
                (axis, "bounds") if bounds else (axis,),
                np.int64,
                chunks=(1024, 2) if bounds else (1024,),
            )
            variable.attrs.update(attributes if bounds else attributes | units)

    def _next(self, index: int) -> None:
        """Make room for a window, and write its times; hours end 1, 2, 3 h after its start."""
        row = len(self.written)
        self.written.append(index)
        self.file.resize_dimension("window", row + 1)
        self.file.resize_dimension("time", 3 * row + 3)
        start, reference = (
            int((one.astype("datetime64[m]") - EPOCH).astype(np.int64))
            for one in (self.cases.starts[index], self.cases.reference(index))
        )
        ends = start + np.array([60, 120, 180])
        hours = slice(3 * row, 3 * row + 3)
        self.file["time"][hours] = ends
        self.file["time_bnds"][hours] = np.stack([ends - 60, ends], 1)
        self.file["forecast_reference_time"][hours] = reference
        self.file["window"][row] = start + 180
        self.file["window_bnds"][row] = (start, start + 180)

    def _coordinate(self, name: str, values: Any) -> None:  # noqa: ANN401
        """An axis: the source's own values and attributes where it has them, else the grid's."""
        grid, row = self.cases.grid, name == self.cases.grid.y_name
        own = self.source.variables.get(name)
        if own is None and grid.kind == "index":
            return
        data = values if own is None else own.values
        variable = self.file.create_variable(name, (name,), data.dtype, data=data)
        if own is not None:
            variable.attrs.update(own.attrs)
        if grid.kind == "latlon":
            kind = "latitude" if row else "longitude"
            units = "degrees_north" if row else "degrees_east"
            variable.attrs.update({"standard_name": kind, "units": units})
        elif grid.kind == "projected":
            kind = f"projection_{'y' if row else 'x'}_coordinate"
            variable.attrs.update({"standard_name": kind, "units": grid.units})
        variable.attrs["axis"] = "Y" if row else "X"

    def _georeference(self, source: Georeference) -> None:
        """Latitudes and longitudes in two dimensions, and grid mappings, as the source has them."""
        for name, own in source.variables.items():
            if len(own.dims) == 1 or name in self.file.variables:
                continue
            packed = {"compression": "gzip", "compression_opts": 1} if own.ndim else {}
            variable = self.file.create_variable(
                name, own.dims, own.dtype, data=own.values, **packed
            )
            variable.attrs.update(own.attrs)

    def _bounds(self, name: str, edges: Any) -> None:  # noqa: ANN401
        """Borders of the cells along an axis, for a grid that is not the source's."""
        bounds = np.stack([edges[:-1], edges[1:]], axis=1)
        self.file[name].attrs["bounds"] = f"{name}_bnds"
        self.file.create_variable(f"{name}_bnds", (name, "bounds"), np.float64, data=bounds)

    def _variable(self, name: str, dimensions: tuple[str, ...], attributes: dict[str, Any]) -> None:
        # zlib, not zstd: every NetCDF tool reads it without a plugin.
        variable = self.file.create_variable(
            name,
            dimensions,
            np.float32,
            fillvalue=np.float32(np.nan),
            chunks=(*[1] * (len(dimensions) - 2), *self.cases.grid.shape),
            compression="gzip",
            compression_opts=1,
            shuffle=True,
        )
        variable.attrs.update(attributes)

    def write(self, index: int, member: int, total: Rain, hours: Rain) -> None:
        """Write one window, after those before it.

        Args:
            index: of the window; those that are never written are not in the file.
            member: index of the member; 0 where there are none.
            total: S, (H, W), mm.
            hours: (3, H, W), mm.
        """
        orient = self.cases.orient
        if self.written[-1:] != [index]:
            self._next(index)
        row = len(self.written) - 1
        window = slice(3 * row, 3 * row + 3)
        # Without an ensemble there is no such axis.
        place = (member,) if self.cases.members else ()
        self.file["rain_1h"][window, *place] = orient(hours)
        self.file["rain_3h"][row, *place] = orient(total)
        if self.share:
            with np.errstate(invalid="ignore", divide="ignore"):
                shares = np.where(total > 0, hours / total, np.nan)
            self.file["share"][window, *place] = orient(shares)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self.file.close()
