"""A prediction as GRIB2: one message an hour and member, accumulated rain of 60 minutes."""

from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from tenkizu.core.errors import DataError
from tenkizu.core.grib_library import eccodes
from tenkizu.rain.cases import Cases
from tenkizu.rain.tables import Rain

BITS = 24
"""Of each packed value: a step of 2^-24 of the largest amount."""

_MISSING = 9999.0


class GribFile:
    """Writes windows one by one.

    Template 4.8 (4.11 for members), parameter 0/1/8 (total precipitation, kg m-2, that is mm),
    hour ends counted from the initial time of the window. Simple packing rounds to 2^-24 of the
    largest amount of the field.

    Args:
        path: file to write.
        cases: what is split.

    Raises:
        DataError: the grid has no regular latitudes and longitudes.
    """

    def __init__(self, path: Path, cases: Cases) -> None:
        if cases.grid.kind != "latlon" or not _regular(cases.grid.y, cases.grid.x):
            raise DataError(
                "GRIB2 output needs a regular latitude-longitude grid",
                file=cases.name,
                found=cases.grid.describe(),
                next_step="write NetCDF: an output file that ends in .nc",
            )
        self.cases = cases
        self._stream: BinaryIO = path.open("wb")

    def write(self, index: int, member: int, total: Rain, hours: Rain) -> None:
        """Write one window; the arguments are those of `PredictionFile.write`."""
        reference = self.cases.reference(index)
        start = self.cases.starts[index]
        for k, amounts in enumerate(hours):
            lead = int((start - reference) / np.timedelta64(1, "m")) + 60 * k
            self._message(reference, lead, member, amounts)

    def _message(self, reference: np.datetime64, lead: int, member: int, amounts: Any) -> None:  # noqa: ANN401
        """One hour (H, W) that begins ``lead`` minutes after the initial time."""
        grid = self.cases.grid
        rows, columns = grid.shape
        end = (reference + np.timedelta64(lead + 60, "m")).astype(object)
        time = reference.astype("datetime64[m]").astype(object)
        ensemble = len(self.cases.members) > 0
        handle = eccodes.codes_grib_new_from_samples("GRIB2")
        try:
            settings: dict[str, Any] = {
                "centre": 255,  # missing: no weather service made it
                "tablesVersion": 15,
                "significanceOfReferenceTime": 1,
                "dataDate": time.year * 10000 + time.month * 100 + time.day,
                "dataTime": time.hour * 100 + time.minute,
                "typeOfProcessedData": 4 if ensemble else 1,
                "gridType": "regular_ll",
                "Ni": columns,
                "Nj": rows,
                "latitudeOfFirstGridPointInDegrees": float(grid.y[0]),
                "latitudeOfLastGridPointInDegrees": float(grid.y[-1]),
                "longitudeOfFirstGridPointInDegrees": float(grid.x[0]) % 360,
                "longitudeOfLastGridPointInDegrees": float(grid.x[-1]) % 360,
                "iDirectionIncrementInDegrees": float(np.diff(grid.x).mean()),
                "jDirectionIncrementInDegrees": float(-np.diff(grid.y).mean()),
                "scanningMode": 0,
                "productDefinitionTemplateNumber": 11 if ensemble else 8,
                "parameterCategory": 1,
                "parameterNumber": 8,
                "typeOfGeneratingProcess": 4 if ensemble else 2,
                "indicatorOfUnitOfTimeRange": 0,
                "forecastTime": lead,
                "typeOfFirstFixedSurface": 1,
                "yearOfEndOfOverallTimeInterval": end.year,
                "monthOfEndOfOverallTimeInterval": end.month,
                "dayOfEndOfOverallTimeInterval": end.day,
                "hourOfEndOfOverallTimeInterval": end.hour,
                "minuteOfEndOfOverallTimeInterval": end.minute,
                "secondOfEndOfOverallTimeInterval": 0,
                "typeOfStatisticalProcessing": 1,
                "typeOfTimeIncrement": 2,
                "indicatorOfUnitForTimeRange": 0,
                "lengthOfTimeRange": 60,
                "packingType": "grid_simple",
                "bitsPerValue": BITS,
                "bitmapPresent": int(np.isnan(amounts).any()),
                "missingValue": _MISSING,
            }
            if ensemble:
                settings["numberOfForecastsInEnsemble"] = len(self.cases.members)
                settings["perturbationNumber"] = self.cases.members[member]
            for key, value in settings.items():
                eccodes.codes_set(handle, key, value)
            values = np.where(np.isnan(amounts), _MISSING, amounts).astype(np.float64)
            eccodes.codes_set_values(handle, values.ravel())
            eccodes.codes_write(handle, self._stream)
        finally:
            eccodes.codes_release(handle)

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the file."""
        self._stream.close()


def _regular(*axes: Any) -> bool:  # noqa: ANN401
    """Whether the steps of each axis are equal within a thousandth."""
    steps = [np.abs(np.diff(axis)) for axis in axes]
    return all(len(s) and float(np.ptp(s)) < 1e-3 * float(s.mean()) for s in steps)
