"""Forecasts on (time, step), as GRIB converters write several runs, with their times in a row."""

from itertools import groupby
from typing import Any

import numpy as np
import xarray as xr
from numpy.typing import NDArray
from xarray.backends import BackendArray
from xarray.core import indexing


def runs_in_a_row(dataset: xr.Dataset) -> xr.Dataset:
    """The same file with one time dimension where its valid times have two; else itself.

    Fields on both dimensions are read as lazily as before, and what stands along one of them, such
    as the reference time of each run, is repeated. Valid times keep their order in the file.
    """
    pair = next(
        (
            (str(variable.dims[0]), str(variable.dims[1]))
            for variable in dataset.variables.values()
            if variable.ndim == 2
            and min(variable.shape) > 1
            and " since " in str(variable.attrs.get("units", ""))
            # No bounds: these have a dimension that no field has.
            and any(set(variable.dims) < set(v.dims) for v in dataset.variables.values())
        ),
        None,
    )
    if pair is None:
        return dataset
    row = "_".join(pair)
    variables = {name: _laid_out(v, pair, row, dataset) for name, v in dataset.variables.items()}
    result = xr.Dataset({n: v for n, v in variables.items() if n != row}, attrs=dataset.attrs)
    result.set_close(dataset.close)
    return result


def _laid_out(
    variable: xr.Variable, pair: tuple[str, str], row: str, dataset: xr.Dataset
) -> xr.Variable:
    """A variable along ``row`` in the place of one or both dimensions of ``pair``."""
    runs, leads = (dataset.sizes[dimension] for dimension in pair)
    along = [dimension for dimension in pair if dimension in variable.dims]
    if len(along) == 2:
        array = _InARow(variable, pair, leads)
        encoding = {k: v for k, v in variable.encoding.items() if k in ("dtype", "scale_factor")}
        chunks = variable.encoding.get("chunksizes")
        if chunks:
            of_dims = dict(zip(variable.dims, chunks, strict=True))
            # Blocks that do not end with a run would not be those of the file.
            together = of_dims[pair[1]] if leads % of_dims[pair[1]] == 0 else 1
            encoding["chunksizes"] = (together, *(of_dims[d] for d in array.rest))
        lazy = indexing.LazilyIndexedArray(array)
        return xr.Variable((row, *array.rest), lazy, variable.attrs, encoding)
    if variable.dims == (pair[0],):
        return xr.Variable((row,), np.repeat(variable.values, leads), variable.attrs)
    if variable.dims == (pair[1],):
        return xr.Variable((row,), np.tile(variable.values, runs), variable.attrs)
    return variable


class _InARow(BackendArray):
    """A lazy field whose first axis runs through all runs, and through the steps of each."""

    def __init__(self, variable: xr.Variable, pair: tuple[str, str], leads: int) -> None:
        self.rest = [str(dimension) for dimension in variable.dims if dimension not in pair]
        self._variable, self._pair, self._leads = variable, pair, leads
        sizes = variable.sizes
        self.shape = (sizes[pair[0]] * leads, *(sizes[dimension] for dimension in self.rest))
        self.dtype = variable.dtype

    def __getitem__(self, key: indexing.ExplicitIndexer) -> Any:  # noqa: ANN401 - as xarray has it
        """What xarray asks for, when it loads."""
        basic = indexing.IndexingSupport.BASIC
        return indexing.explicit_indexing_adapter(key, self.shape, basic, self._read)

    def _read(self, key: tuple[int | slice, ...]) -> NDArray[Any]:
        """Integers and slices along all axes."""
        first, others = key[0], dict(zip(self.rest, key[1:], strict=True))
        if not isinstance(first, slice):
            return self._of_run(*divmod(int(first), self._leads), others)
        wanted = range(*first.indices(self.shape[0]))
        parts = []
        for run, group in groupby(wanted, lambda position: position // self._leads):
            steps = [position - run * self._leads for position in group]
            stop = steps[-1] + (1 if wanted.step > 0 else -1)
            picked = slice(steps[0], None if stop < 0 else stop, wanted.step)
            parts.append(self._of_run(run, picked, others))
        return np.concatenate(parts) if parts else np.empty((0, *self.shape[1:]), self.dtype)

    def _of_run(self, run: int, steps: int | slice, others: dict[str, int | slice]) -> NDArray[Any]:
        """Values of one run, its steps first."""
        found = self._variable.isel({self._pair[0]: run, self._pair[1]: steps, **others})
        order = [d for d in (self._pair[1], *self.rest) if d in found.dims]
        values = found.to_numpy()
        return values.transpose([found.dims.index(dimension) for dimension in order])
