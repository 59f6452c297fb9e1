"""What the tests of downloads share: a tiny configuration, a store of its area, file contents.

The area is 3 x 3 points of ERA5's own grid, and the channels are chosen so that a year needs two or
three requests and the last day of the year before.
"""

import functools
import json
import os
import subprocess
import sys
from pathlib import Path

import h5py
import numpy as np
from cds_server import CdsServer
from cds_server_era5 import era5_response

from tenkizu.core.config import dump_config
from tenkizu.patterns.config import PatternsConfig

AREA = (35.5, 135, 35, 135.5)
CHANNELS = ["msl", "msl_dt24", "gh500"]
"""msl of the year before, msl, z_500_1000: three files for one year, five for two."""

FAST = {"tasks": "needed", "poll_s": 0.05, "retry_pause_s": 0.0, "timeout_s": 5.0}
SERVED = functools.partial(era5_response, step=0.25)


def era5_config(folder, years=(2001,), channels=CHANNELS, area=AREA, hours=(0,), **download):
    """A configuration that fetches into ``folder/raw``."""
    return PatternsConfig(
        run={"name": "x", "dir": folder / "runs"},
        data={
            "source": "era5",
            "raw_dir": folder / "raw",
            "years": list(years),
            "channels": channels,
            "area": area,
            "hours": list(hours),
            "store": folder / "store",
        },
        download={**FAST, **download},
    )


def store(monkeypatch=None, serve=SERVED, **options):
    """A data store, whose address and key go into the environment."""
    server = CdsServer(serve, **options)
    if monkeypatch is not None:
        for name, value in account(server).items():
            monkeypatch.setenv(name, value)
    return server


def account(server):
    """The environment of somebody with an account."""
    return {"CDSAPI_URL": server.url, "CDSAPI_KEY": server.key}


def submissions(server):
    """How many requests were submitted."""
    return len(server.calls("POST", "/execution"))


def sidecar(path):
    """The record beside a file."""
    return json.loads(Path(f"{path}.json").read_text(encoding="utf-8"))


def contents(folder):
    """Arrays and attributes of every NetCDF file of a folder, but for its history."""
    # Names with a dot in front are of files that were not finished.
    return {path.name: _content(path) for path in sorted(Path(folder).glob("[!.]*.nc"))}


def _content(path):
    found = {}
    with h5py.File(path) as file:
        attrs = {k: v for k, v in file.attrs.items() if k not in ("history", "_NCProperties")}
        found["/"] = _plain(attrs)
        for name, item in file.items():
            links = ("DIMENSION_LIST", "REFERENCE_LIST")
            attrs = {k: v for k, v in item.attrs.items() if k not in links}
            values = np.asarray(item[()])
            stored = values.tolist() if values.dtype == object else values.tobytes()
            found[name] = (item.dtype.str, stored, item.shape, _plain(attrs))
    return found


def _plain(attrs):
    # As text, in which NaN equals NaN.
    return {k: repr(np.asarray(v).tolist()) for k, v in attrs.items()}


def in_process(config, server, *options, **popen):
    """Start `tenkizu patterns download` as a process of its own."""
    path = Path(config.data.raw_dir).parent / "config.yaml"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(dump_config(config), encoding="utf-8")
    return subprocess.Popen(
        [sys.executable, str(Path(__file__).with_name("download_process.py")), path, *options],
        env={**os.environ, **account(server), "COLUMNS": "200"},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        **popen,
    )
