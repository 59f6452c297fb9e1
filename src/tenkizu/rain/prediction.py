"""`predict`: hourly rain for any source of 3-hour totals."""

import logging
from collections.abc import Sequence
from contextlib import ExitStack
from functools import partial
from itertools import product
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.store import atomic, output_file
from tenkizu.rain.cases import Cases, on_chosen_grid, open_cases
from tenkizu.rain.hourly import SourceOptions
from tenkizu.rain.prediction_file import PredictionFile
from tenkizu.rain.preparation import Track
from tenkizu.rain.regridding import Regrid
from tenkizu.rain.tables import Rain

if TYPE_CHECKING:
    from tenkizu.rain.film_roll import Roll
    from tenkizu.rain.grib_output import GribFile
    from tenkizu.rain.model import RainModel

log = logging.getLogger(__name__)

SUM_TOLERANCE = 1e-5
"""Largest accepted |sum of hours - S| / S."""

GRIB_OUTPUT = (".grib2", ".grb2", ".bin")
"""Suffixes of an output that is wanted as GRIB2."""

NETCDF_OUTPUT = (".nc", ".nc4", ".cdf", "")
"""Suffixes of one that is wanted as NetCDF; a name without any means that, too."""


def predict(
    model: str | Path,
    data: str | Path | Sequence[str | Path],
    output: str | Path,
    options: SourceOptions | None = None,
    window_start: int = 0,
    share: bool = False,
    track: Track | None = None,
    picture: str | Path | None = None,
    film: str | Path | None = None,
    regrid: Regrid | None = None,
) -> Path:
    """Split every complete 3-hour window of an input into hours, each once.

    What cannot be read of several GRIB2 files is logged and left out, and an error lists it when
    all others are written: initial times for a model that needs forecast fields, files or windows
    for one that does not. Beside those, P and N are missing.

    Args:
        model: a run folder, an exported model folder or a shipped model's name.
        data: NetCDF of 3-hourly, hourly or sub-hourly rain, of which only the 3-hour totals are
            used; or GRIB2 files, or a folder of them: MSM in both layouts, ensembles, guidance,
            radar analyses.
        output: NetCDF file to write, rows and columns in the order of the input; or a GRIB2 file,
            by its suffix ``.grib2``, ``.grb2`` or ``.bin``.
        options: what a NetCDF file does not say about itself.
        window_start: hour (UTC, modulo 3) at which windows begin.
        share: also write each hour's share of its total; NetCDF only.
        track: shows progress.
        picture: PNG file to draw the window with most rain into, of an ensemble its first member.
        film: ``.mp4`` or ``.gif`` file to draw all windows into as `video` does, of an ensemble its
            first member. Until it is drawn its hours lie beside it, compressed, in a hidden folder.
        regrid: for a grid whose spacing is off that of the training by more than 20 %:
            ``conservative`` brings the totals to a grid of that spacing, by area-weighted means, on
            which the output then is; ``native`` splits them on the grid as it is.

    Returns:
        The output file. NetCDF: ``rain_1h`` (time, y, x) in mm with ``time`` the end of each hour
        and its bounds, and ``rain_3h`` (window, y, x), the given totals; with a ``member``
        dimension before y and x for an ensemble.

    Raises:
        ConfigError: the output would overwrite the input, the film has another suffix, or shares
            are asked of a model without or of GRIB2.
        DataError: the model or the input cannot be used, or the spacing is off and ``regrid`` is
            not given; or some of it could not be read, and the others are written.
    """
    from tenkizu.rain.model import RainModel

    output = Path(output)
    inputs = [Path(one) for one in ([data] if isinstance(data, str | Path) else data)]
    if output.exists() and any(one.exists() and output.samefile(one) for one in inputs):
        raise ConfigError("the output is the input file", file=output)
    for one in (output, picture, film):
        if one:
            output_file(one)
    as_grib = output.suffix.lower() in GRIB_OUTPUT
    if not as_grib and output.suffix.lower() not in NETCDF_OUTPUT:
        raise ConfigError(
            "the format goes by the suffix, and this one says neither NetCDF nor GRIB2",
            file=output,
            found=output.suffix,
            expected=", ".join([*filter(None, NETCDF_OUTPUT), *GRIB_OUTPUT]),
            next_step=f"name it {output.with_suffix('.nc').name}",
        )
    if share and as_grib:
        raise ConfigError("GRIB2 output has no shares", variable="share", next_step="write NetCDF")
    reel = _named(film) if film else None
    loaded = RainModel.load(model)
    if share and not loaded.net.conserves:
        raise ConfigError(
            "this model's hours do not add to the total, so they have no shares",
            variable="share",
            next_step="leave --share out, or use a model with model.rescale=true",
        )
    heaviest: tuple[float, int, Rain] | None = None
    known = False
    with ExitStack() as stack:
        cases = stack.enter_context(open_cases(loaded, inputs, options, window_start))
        cases = on_chosen_grid(loaded, cases, regrid)
        for note in cases.notes:
            log.warning("%s: %s", cases.name, note)
        roll = stack.enter_context(_roll(reel, cases, loaded)) if reel else None
        with atomic(output) as part, _writer(part, cases, loaded, share, as_grib) as writer:
            items = list(product(range(len(cases)), range(max(1, len(cases.members)))))
            for i, member in track(items, "predicting") if track else items:
                made = cases.attempt(i, partial(split_window, loaded, cases, i, member))
                if made is None:
                    continue
                rain, hours = made
                writer.write(i, member, rain[4], hours)
                known = known or bool(np.isfinite(rain[4]).any())
                amount = float(np.nansum(rain[4], dtype=np.float64))
                if picture and not member and (heaviest is None or amount > heaviest[0]):
                    heaviest = amount, i, hours
                if roll and not member:
                    roll.keep(i, rain, hours)
            cases.require_some()
            if not known:
                raise DataError(
                    "no total has a cell with rain or without: all are missing",
                    file=cases.name,
                    found=f"missing values only, in {len(cases)} windows",
                    expected="a number somewhere",
                    next_step="look at the fields with `tenkizu rain inspect`, or fetch the files "
                    "again",
                )
        if picture and heaviest:
            _draw(Path(picture), cases, heaviest[1], heaviest[2], loaded)
        if roll:
            roll.write(track)
    cases.require_all(output)
    return output


def split_window(
    model: "RainModel", cases: Cases, index: int, member: int = 0
) -> tuple[Rain, Rain]:
    """Rain (6, H, W) and predicted hours (3, H, W) of a window, mm.

    Raises:
        DataError: it cannot be read or split, or its hours do not add to the total.
    """
    rain, fields = cases.read(index, member)
    hours = model.split(rain, cases.starts[index], cases.grid, fields=fields)
    _require_sum(cases, hours, rain[4], model)
    return rain, hours


def _named(film: str | Path) -> Path:
    """The name that the film gets; what draws is imported when there is something to draw."""
    from tenkizu.rain.film import film_path

    return film_path(film)


def _roll(path: Path, cases: Cases, model: "RainModel") -> "Roll":
    from tenkizu.rain.film_roll import Roll

    return Roll(path, cases, model)


def _writer(
    part: Path, cases: Cases, model: "RainModel", share: bool, as_grib: bool
) -> "GribFile | PredictionFile":
    """What writes windows to a file."""
    if as_grib:
        from tenkizu.rain.grib_output import GribFile

        return GribFile(part, cases)
    return PredictionFile(part, cases, model, share)


def _require_sum(cases: Cases, hours: Rain, total: Rain, model: "RainModel") -> None:
    """Raise when the hours of a model that conserves S do not add to it; no file is kept then."""
    departure = np.abs(hours.sum(axis=0, dtype=np.float64) - total)
    # A direct head has no link to S, and says so in model.json.
    wrong = (departure > SUM_TOLERANCE * total) & model.net.conserves
    if wrong.any():
        raise DataError(
            "the hours do not add to the total",
            file=cases.name,
            variable="rain_1h",
            found=f"{int(wrong.sum())} cells, up to {np.nanmax(departure):g} mm",
            expected=f"at most {SUM_TOLERANCE:g} of the total",
            next_step="report this as a bug with the model and the file",
        )


def _draw(path: Path, cases: Cases, index: int, hours: Rain, model: "RainModel") -> None:
    """The window with most rain as a map of its sum and hours."""
    from tenkizu.rain.plots import draw_panels

    member = f", member {cases.members[0]}" if cases.members else ""
    draw_panels(
        path,
        cases.grid,
        cases.starts[index],
        hours,
        None,
        scale="log",
        subtitle=f"{model.metadata.get('name')} on {cases.name}{member}",
        t0=cases.reference(index),
    )
