"""A real file of JMA, tiny ones made from a few fields, and single fields of them."""

from datetime import datetime
from pathlib import Path

import numpy as np
from jma_bytes import FieldSpec, Grid, message

from tenkizu.rain.msm.grib import GribField, fields_of

MEPS = Path(__file__).parents[1] / "data" / "grib"
MEPS /= "Z__C_RJTD_20190605000000_MEPS_GPV_Rjp_L-pall_FH00_first20_grib2.bin"
T0 = datetime(2020, 7, 3, 12)
TINY = Grid(4, 5, 40.0, 130.0, 0.5, 0.25)


def written(folder: Path, *fields: FieldSpec, reference: datetime = T0) -> Path:
    path = folder / "made.grib2"
    path.write_bytes(message(fields, reference))
    return path


def tiny(values: np.ndarray | None = None, **other: object) -> FieldSpec:
    """Eastward wind on a tiny grid in steps of 1/16."""
    values = np.arange(20.0).reshape(4, 5) / 16 if values is None else values
    return FieldSpec(values, 2, 2, grid=TINY, step=2.0**-4, **other)  # type: ignore[arg-type]


def only(path: Path) -> GribField:
    (one,) = fields_of(path)
    return one
