"""The folder of a run: opened, refused, resumed with the configuration it began with."""

import pytest
import yaml

from tenkizu.core.config import dump_config, load_config
from tenkizu.core.errors import ConfigError
from tenkizu.core.runs import open_run_folder
from tenkizu.core.samples import shipped_configs
from tenkizu.patterns.config import PatternsConfig
from tenkizu.rain.config import RainConfig


@pytest.fixture(params=[(RainConfig, "rain_demo"), (PatternsConfig, "patterns_demo")])
def begun(request, tmp_path):
    """A run that has begun: its folder, and how it is configured and opened again."""
    schema, name = request.param
    overrides = [f"run.dir={tmp_path}", "run.name=mine", "train.epochs=7"]

    def read(*more):
        return load_config(schema, shipped_configs()[name], [*overrides, *more])

    def again(config, resume=True, overwrite=False):
        return open_run_folder(config.run, dump_config(config), schema, resume, overwrite)

    folder = again(read(), resume=False)
    (folder / "last.ckpt").touch()
    return folder, read, again


def without(path, section, *names):
    """Take keys out of a configuration, as if they had not been there when it was written."""
    tree = yaml.safe_load(path.read_text())
    for name in names:
        del tree[section][name]
    path.write_text(yaml.safe_dump(tree, sort_keys=False))


def test_a_run_is_resumed_with_the_configuration_it_began_with(begun):
    folder, read, again = begun
    with pytest.raises(ConfigError, match="holds a run already"):
        again(read(), resume=False)
    assert again(read()) == folder
    with pytest.raises(ConfigError, match=r"differs from .*; found epochs: 8\n.*config\.yaml"):
        again(read("train.epochs=8"))
    assert "epochs: 7" in (folder / "config.yaml").read_text()


def test_keys_newer_than_the_run_may_stand_at_their_defaults(begun):
    folder, read, again = begun
    without(folder / "config.yaml", "train", "clip_norm", "seed")
    again(read())
    assert (folder / "config.yaml").read_text() == dump_config(read())
    assert (folder / "last.ckpt").exists()


def test_a_newer_key_that_is_set_is_a_difference_and_alone_named(begun):
    folder, read, again = begun
    without(folder / "config.yaml", "train", "clip_norm", "seed")
    before = (folder / "config.yaml").read_text()
    with pytest.raises(ConfigError, match=r"found clip_norm: 0\.25\n"):
        again(read("train.clip_norm=0.25"))
    assert (folder / "config.yaml").read_text() == before


def test_keys_that_are_no_more_are_named(begun):
    folder, read, again = begun
    path = folder / "config.yaml"
    path.write_text(path.read_text().replace("  epochs: 7", "  epochs: 7\n  warp: 9"))
    with pytest.raises(ConfigError, match=r"config\.yaml, line \d+: train\.warp: unknown key"):
        again(read())


def test_overwriting_removes_what_a_resumed_run_would_go_on_from(begun):
    folder, read, again = begun
    again(read("train.epochs=8"), resume=False, overwrite=True)
    assert not (folder / "last.ckpt").exists()
    assert "epochs: 8" in (folder / "config.yaml").read_text()
