"""The configuration of a rain run: periods, splits, the network's shape, messages."""

import numpy as np
import pytest
from pydantic import ValidationError

from tenkizu.core.config import dump_config, json_schema, load_config, template
from tenkizu.core.errors import ConfigError
from tenkizu.core.periods import SplitsConfig, parse_period
from tenkizu.core.samples import shipped_configs
from tenkizu.rain.config import (
    V5,
    DataConfig,
    LossConfig,
    ModelConfig,
    RainConfig,
    ScoresConfig,
)

MINIMAL = """\
run:
  name: mine
data:
  files: [rain.nc]
  store: stores/mine
  splits:
    train: [2020-05-01/2020-05-20]
"""


@pytest.fixture
def load(tmp_path):
    """Load the minimal configuration with overrides."""
    path = tmp_path / "mine.yaml"
    path.write_text(MINIMAL)
    return lambda *overrides: load_config(RainConfig, path, overrides)


def refused(load, *overrides):
    """The message with which overrides are refused."""
    with pytest.raises(ConfigError) as caught:
        load(*overrides)
    return str(caught.value)


# ---------------------------------------------------------------------------- periods


@pytest.mark.parametrize(
    ("text", "start", "end"),
    [
        ("2023-11-11/2023-11-16", "2023-11-11T00:00", "2023-11-17T00:00"),
        ("2023-11-11/2023-11-11", "2023-11-11T00:00", "2023-11-12T00:00"),
        ("2024-02-28/2024-02-29", "2024-02-28T00:00", "2024-03-01T00:00"),
        (" 2023-12-31 / 2023-12-31 ", "2023-12-31T00:00", "2024-01-01T00:00"),
        # With hours, to the hour: half open.
        ("2018-05-10T06/2018-05-10T18", "2018-05-10T06:00", "2018-05-10T18:00"),
        ("2018-05-10/2018-05-11T06:30", "2018-05-10T00:00", "2018-05-11T06:30"),
        ("2018-05-10T06/2018-05-10", "2018-05-10T06:00", "2018-05-11T00:00"),
        ("2018-05-10 06/2018-05-10 18", "2018-05-10T06:00", "2018-05-10T18:00"),
        # Months and years are whole, too.
        ("2018-05/2018-06", "2018-05-01T00:00", "2018-07-01T00:00"),
        ("2018/2021", "2018-01-01T00:00", "2022-01-01T00:00"),
        ("2018-05-10/2018", "2018-05-10T00:00", "2019-01-01T00:00"),
    ],
)
def test_periods_include_their_last_day(text, start, end):
    assert parse_period(text) == (np.datetime64(start), np.datetime64(end))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "/",
        "2020-05-01",
        "2020-05-01/",
        "/2020-05-01",
        "May/June",
        "2020-05-01/2020-05-32",
        "2021-02-29/2021-03-01",
        "2020-05-01/2020-05-02/2020-05-03",
        "2020-05-01/NaT",
    ],
)
def test_what_is_no_period(text):
    with pytest.raises(ValueError, match="is not FIRST/LAST, such as 2023-11-11/2023-11-16"):
        parse_period(text)


@pytest.mark.parametrize("text", ["2020-05-02/2020-05-01", "2020-05-01T06/2020-05-01T06"])
def test_a_period_that_ends_before_it_begins(text):
    with pytest.raises(ValueError, match="ends before it begins"):
        parse_period(text)


def test_blocks_list_all_periods_by_split():
    splits = SplitsConfig(
        train=["2020-05-01/2020-05-02", "2020-06-01/2020-06-01"], test=["2020-05-03/2020-05-03"]
    )
    assert splits.blocks() == [
        ("train", np.datetime64("2020-05-01T00:00"), np.datetime64("2020-05-03T00:00")),
        ("train", np.datetime64("2020-06-01T00:00"), np.datetime64("2020-06-02T00:00")),
        ("test", np.datetime64("2020-05-03T00:00"), np.datetime64("2020-05-04T00:00")),
    ]


# ---------------------------------------------------------------------------- splits


@pytest.mark.parametrize(
    ("validation", "overlaps"),
    [
        ("2020-05-20/2020-05-25", True),  # the last day of training, shared
        ("2020-05-05/2020-05-06", True),  # inside
        ("2020-04-01/2020-06-01", True),  # around
        ("2020-05-20T23/2020-05-25", True),  # one hour
        ("2020-05-21/2020-05-25", False),
        ("2020-04-28/2020-04-30", False),
    ],
)
def test_splits_must_not_overlap(load, validation, overlaps):
    override = f"data.splits.validation=[{validation}]"
    if overlaps:
        message = refused(load, override)
        assert "a validation period and a train period overlap" in message
        assert "data.splits" in message
    else:
        assert load(override).data.splits.validation == [validation]


def test_periods_of_one_split_must_not_overlap_either(load):
    message = refused(load, "data.splits.train=[2020-05-01/2020-05-10, 2020-05-10/2020-05-12]")
    assert "a train period and a train period overlap" in message


def test_training_needs_a_period(load):
    assert "no training period is given" in refused(load, "data.splits.train=[]")


def test_a_bad_period_is_named_in_the_message(load):
    message = refused(load, "data.splits.test=[2020-13-01/2020-13-02]")
    assert "data.splits" in message
    assert "'2020-13-01/2020-13-02' is not FIRST/LAST" in message


# ---------------------------------------------------------------------------- data


def test_context_is_put_in_order_and_must_hold_the_total(load):
    assert load("data.context=[n, s]").data.context == ["s", "n"]
    assert load("data.context=[n, p, s]").data.context == ["s", "p", "n"]
    for wrong in ("[p, n]", "[s, s]", "[]"):
        assert "must name s" in refused(load, f"data.context={wrong}")
    assert "data.context" in refused(load, "data.context=[s, q]")


@pytest.mark.parametrize(
    "override",
    [
        "data.files=[]",
        "data.tile=8",
        "data.amount_scale=0.5",
        "data.amount_scale=.inf",
        "data.drop_neighbours=1.0",
        "data.time_stamp=middle",
        "data.checks.min_bins=0",
        "model.tau=0",
        "model.drop_path=1.0",
        "loss.mask_mm=-0.1",
        "loss.mask_mm=.nan",
        "plots.lognorm_vmin_mm=0",
        "train.select=val_f1",
        "kind=patterns",
    ],
)
def test_values_outside_their_range_are_refused_by_key(load, override):
    assert override.partition("=")[0] in refused(load, override)


def test_off_means_no_tile(load):
    assert load("data.tile=off").data.tile is None


# ---------------------------------------------------------------------------- thresholds, bins


@pytest.mark.parametrize(
    "key", ["scores.thresholds_1h", "scores.categories_1h", "loss.bins_sum", "loss.bins_1h"]
)
@pytest.mark.parametrize("values", ["[0, 1, 5]", "[-1, 1]", "[1, 1, 5]", "[5, 1]"])
def test_edges_must_be_positive_and_increasing(load, key, values):
    message = refused(load, f"{key}={values}")
    assert f"{key}: must be positive and increasing" in message


@pytest.mark.parametrize("values", ["[1, .nan]", "[1, .inf]"])
def test_edges_must_be_numbers(load, values):
    assert "finite" in refused(load, f"scores.thresholds_1h={values}")


def test_the_threshold_zero_is_refused_because_it_is_always_reached():
    with pytest.raises(ValidationError, match="positive and increasing"):
        ScoresConfig(thresholds_1h=[0, 0.1, 1])
    assert ScoresConfig().thresholds_1h == [0.1, 1, 5, 10, 20, 30, 50]


def test_every_bin_needs_its_weight(load):
    assert "manual_weights needs one entry more than bins_1h" in refused(
        load, "loss.bins_1h=[1, 5]"
    )
    assert load("loss.bins_1h=[1, 5]", "loss.manual_weights=[1, 2, 3]").loss.hourly_weights == [
        1, 2, 3
    ]  # fmt: skip
    assert "loss.manual_weights" in refused(
        load, "loss.manual_weights=[1, 5, 20, 100, 250, 500, -1]"
    )


def test_weights_off_are_ones():
    assert LossConfig(weights="off").hourly_weights == [1.0] * 7
    assert LossConfig().hourly_weights == [1, 5, 20, 100, 250, 500, 1000]


# ---------------------------------------------------------------------------- network


def test_v5_is_the_reference_network():
    assert V5.model_dump() == {
        "embed_dim": 128,
        "depths": [2, 2, 12, 2],
        "num_heads": [4, 8, 16, 32],
        "window_size": 5,
        "patch_size": 4,
        "drop_path": 0.2,
        "full_resolution_skip": False,
        "upsampling": "shuffle",
        "activation_checkpointing": False,
        "head": "allocation",
        "rescale": False,
        "temperature": "none",
        "tau": 1.0,
        "prior": "none",
        "noise": 0,
    }


def test_the_default_network_is_the_lean_one():
    lean = ModelConfig()
    assert (lean.embed_dim, lean.depths, lean.num_heads) == (64, [2, 2, 6, 2], [2, 4, 8, 16])
    assert lean.full_resolution_skip


@pytest.mark.parametrize(
    ("overrides", "words"),
    [
        (["model.embed_dim=65"], "stage 1: 2 heads do not divide the channels"),
        (["model.num_heads=[2, 4, 8, 12]"], "stage 4: 12 heads do not divide the channels"),
        (["model.num_heads=[2, 4, 8]"], "depths and num_heads must have one entry per stage"),
        (["model.num_heads=[0, 4, 8, 16]"], "model.num_heads.0"),
        (["model.num_heads=[-2, 4, 8, 16]"], "model.num_heads.0"),
        (["model.depths=[2, 2, 0, 2]"], "model.depths.2"),
        (["model.depths=[2]", "model.num_heads=[2]"], "model.depths"),
        (["model.depths=[]", "model.num_heads=[]"], "model.depths"),
    ],
)
def test_stages_that_do_not_fit_are_refused(load, overrides, words):
    assert words in refused(load, *overrides)


# ---------------------------------------------------------------------------- files


@pytest.mark.parametrize(
    ("override", "meant"),
    [
        ("data.contxt=[s]", "did you mean data.context?"),
        ("data.splits.valid=[2020-06-01/2020-06-02]", "did you mean data.splits.validation?"),
        ("model.num_head=[2]", "did you mean model.num_heads?"),
        ("loss.mask=0.2", "did you mean loss.mask_mm?"),
        ("scores.threshold_1h=[1]", "did you mean scores.thresholds_1h?"),
        ("train.epoch=3", "did you mean train.epochs?"),
    ],
)
def test_a_mistyped_key_gets_a_suggestion(load, override, meant):
    message = refused(load, override)
    assert "unknown key" in message
    assert meant in message


def test_a_minimal_file_takes_the_defaults_and_survives_being_written(load, tmp_path):
    config = load()
    assert config.kind == "rain"
    assert config.data.drop_neighbours == 0.1
    assert config.data.context == ["s", "p", "n"]
    assert config.loss.mask_mm == 0.1
    assert (config.train.select, config.train.epochs) == ("val_skill", 60)
    written = tmp_path / "again.yaml"
    written.write_text(dump_config(config))
    assert load_config(RainConfig, written) == config


@pytest.mark.parametrize("name", sorted(n for n in shipped_configs() if n.startswith("rain")))
def test_shipped_configurations_load(name):
    config = load_config(RainConfig, shipped_configs()[name])
    assert config.data.splits.validation
    assert config.data.splits.test


def test_every_key_is_explained_in_template_and_schema():
    text = template(RainConfig)
    for section in (DataConfig, ModelConfig, LossConfig, ScoresConfig, SplitsConfig):
        for name, field in section.model_fields.items():
            assert field.description, name
            assert f" {name}:" in text
    assert json_schema(RainConfig)["properties"].keys() == RainConfig.model_fields.keys()
