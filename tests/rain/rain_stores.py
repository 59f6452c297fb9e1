"""What the tests of `prepare` share: windows, configurations and the contents of stores."""

import json

import numpy as np

THREE = np.timedelta64(3, "h")


def at(text):
    return np.datetime64(text, "m")


def windows(first, count):
    return [at(first) + i * THREE for i in range(count)]


def changed(config, **data):
    """The configuration with other entries under ``data``."""
    return config.model_copy(update={"data": config.data.model_copy(update=data)})


def contents(store):
    """Every stored array, and all of store.json."""
    arrays = np.stack([store.read("rain", i) for i in range(len(store))])
    return arrays, json.loads((store.path / "store.json").read_text())


def files_of(folder):
    """Bytes by name."""
    return {p.name: p.read_bytes() for p in folder.iterdir()}
