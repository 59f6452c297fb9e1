"""Networks of the tiny run with random weights and other options, as modules and as model folders;
batches for them, and a map of orography."""

import numpy as np
import torch
import xarray as xr

from tenkizu.core.grid import Grid
from tenkizu.core.stats import Moments
from tenkizu.rain.config import RainConfig
from tenkizu.rain.dataset import RainDataset, input_channels
from tenkizu.rain.model import Disaggregator, export
from tenkizu.rain.tables import RAIN

START = np.datetime64("2023-06-01T03:00", "m")
S = RAIN.index("S")
EVERYTHING = ["s", "p", "n", "box5", "box15", "gradient", "position", "static"]


def changed(config, **changes):
    """A configuration with other values: changed(config, train__epochs=3)."""
    data = config.model_dump(mode="json")
    for key, value in changes.items():
        section, _, name = key.partition("__")
        data[section][name] = value
    return RainConfig(**data)


def write_orography(path, store):
    """Orography, south row first, on the grid of a store and two nodes around it."""
    grid = Grid.from_json(store.meta["grid"])
    lat = np.linspace(grid.y[-1] - 0.2, grid.y[0] + 0.2, len(grid.y) + 4)
    lon = np.linspace(grid.x[0] - 0.2, grid.x[-1] + 0.2, len(grid.x) + 4)
    heights = 1000 * (lat[:, None] - lat[0]) + (lon[None, :] - lon[0]) - 300
    attrs = {"units": "m", "standard_name": "surface_altitude"}
    xr.Dataset(
        {"hgt": (("lat", "lon"), heights.astype(np.float32), attrs)}, {"lat": lat, "lon": lon}
    ).to_netcdf(path, engine="h5netcdf")
    return path


def build_network(config, store, **changes):
    """A configuration with other values, and its network with random weights."""
    config = changed(config, **changes)
    torch.manual_seed(3)
    moments = Moments.from_json(store.meta["statistics"]["log1p_mm"])
    return config, Disaggregator(config.model, input_channels(config.data, moments))


def export_network(folder, config, store, **details):
    """A model folder of a network with random weights, as the run would leave it."""
    _, net = build_network(config, store)
    known = {
        "name": "toy",
        "climatology": store.meta["climatology"],
        "config": config.model_dump(mode="json"),
    }
    return export(folder, net, config.model, known | details)


def batch_of(store, net, split="train", count=4, **options):
    dataset = RainDataset(store, split, net.channels, **options)
    samples = [dataset[i] for i in range(count)]
    return {key: torch.stack([sample[key] for sample in samples]) for key in samples[0]}
