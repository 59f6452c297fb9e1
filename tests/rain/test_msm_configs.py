"""MSM forecasts: stores with fields, the channels they give, and the two shipped recipes."""

import json
import sys

import numpy as np
import pytest
from msm_store import write_msm_store

from tenkizu import cli
from tenkizu.core.config import load_config
from tenkizu.core.errors import ConfigError, DataError
from tenkizu.core.samples import shipped_configs
from tenkizu.core.store import SampleStore
from tenkizu.rain.config import V5, RainConfig
from tenkizu.rain.dataset import RainDataset, augment
from tenkizu.rain.fields import field_names, field_scales, wind_component
from tenkizu.rain.prepared import open_prepared
from tenkizu.rain.tables import RAIN

RECIPES = ("rain_msm", "rain_msm_v5")
SMALL = [
    "model.embed_dim=8", "model.depths=[1,1]", "model.num_heads=[1,2]", "train.epochs=1",
    "train.batch_size=2", "train.workers=0", "train.devices=1", "plots.cases=0",
    "scores.fss_windows=[1]",
]  # fmt: skip
TILES = {"rain_msm": ["data.tile=20"], "rain_msm_v5": []}
REFERENCE_ORDER = [
    "Prmsl", "U10m", "V10m", "T2m", "U975", "V975", "T975", "U950", "V950", "T950",
    "U925", "V925", "T925", "R925", "U850", "V850", "T850", "R850",
    "GH500", "T500", "R500", "GH300", "U300", "V300",
]  # fmt: skip


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder with a store of eight samples of 40 x 40 cells; read only."""
    folder = tmp_path_factory.mktemp("msm")
    write_msm_store(folder / "store")
    return folder


@pytest.fixture(scope="module")
def recipe(folder):
    """A shipped recipe on the generated store, with overrides."""

    def load(name, *overrides):
        where = [f"data.store={folder / 'store'}", f"run.dir={folder / 'runs'}"]
        return load_config(RainConfig, shipped_configs()[name], [*where, *overrides])

    return load


@pytest.fixture
def altered(folder, tmp_path):
    """A copy of the store's description, changed by a function; its arrays are not copied."""

    def make(change):
        path = tmp_path / "store"
        path.mkdir()
        meta = json.loads((folder / "store" / "store.json").read_text())
        change(meta)
        (path / "store.json").write_text(json.dumps(meta))
        return f"data.store={path}"

    return make


# ---------------------------------------------------------------------------- the recipes


@pytest.fixture(scope="module")
def trained(folder):
    """Both recipes, shortened, trained by the real commands; the run folders by name."""
    folders = {}
    for name in RECIPES:
        where = [f"data.store={folder / 'store'}", f"run.dir={folder / 'runs'}"]
        for command in (["prepare"], ["train", "--dry-run"], ["train"]):
            arguments = [str(shipped_configs()[name]), *where, *SMALL, *TILES[name]]
            with pytest.MonkeyPatch.context() as patch:
                patch.setattr(sys, "argv", ["tenkizu", "rain", *command, *arguments])
                with pytest.raises(SystemExit) as stop:
                    cli.main()
            assert not stop.value.code, command
        folders[name] = folder / "runs" / name
    return folders


@pytest.mark.parametrize("name", RECIPES)
def test_a_recipe_trains_and_is_scored(trained, name):
    model = json.loads((trained[name] / "model.json").read_text())
    channels = [channel["name"] for channel in model["channels"]]
    assert channels[:48] == [f"{b}_{lead}" for b in REFERENCE_ORDER for lead in ("ft3", "ft6")]
    assert channels[48:53] == [
        "Prec_ft3", "dayofyear_sin", "dayofyear_cos", "hour_sin", "hour_cos"
    ]  # fmt: skip
    # The reference network cannot see the amount it splits.
    assert ("S" in channels[53:]) == (name == "rain_msm")
    assert len(channels) == (53 if name == "rain_msm_v5" else 64)
    # Only the reference recipe scales by groups; of rain the bounds are amounts in mm.
    groups = trained[name] / "scaler_groups.json"
    assert groups.exists() == (name == "rain_msm_v5")
    if groups.exists():
        largest = json.loads(groups.read_text())["group_minmax"]["precip"]["max"]
        assert model["channels"][48]["std"] == largest > 10
    for split in ("validation", "test"):
        scores = json.loads((trained[name] / "evaluation" / split / "scores.json").read_text())
        assert scores["n_windows"] == 2
        assert scores["max_relative_sum_error"] <= 1e-5
    assert (trained[name] / "report" / "index.html").exists()


def test_rain_alone_is_not_enough_for_such_a_model(trained, tiny_rain_file, tmp_path):
    from tenkizu.rain import evaluate, predict, video

    model = trained["rain_msm_v5"]
    output = tmp_path / "out.nc"
    for refused in (
        lambda: predict(model, tiny_rain_file, output),
        lambda: evaluate(model, tiny_rain_file, tmp_path / "scores"),
        lambda: video(model, tiny_rain_file, tmp_path / "film.gif"),
    ):
        with pytest.raises(DataError) as caught:
            refused()
        message = str(caught.value)
        assert str(tiny_rain_file) in message
        assert "Prmsl_ft3, Prmsl_ft6, U10m_ft3" in message
        assert "V300_ft6" in message
        assert "Prec_ft3" not in message
        assert "rain-only" in message
    assert list(tmp_path.iterdir()) == []


def test_the_film_of_the_store_has_its_fields(trained, tmp_path):
    from tenkizu.rain import video

    assert video(trained["rain_msm_v5"], None, tmp_path / "film.gif").stat().st_size > 1000


def test_v5_is_the_reference_recipe(recipe):
    from tenkizu.rain.model import describe_network

    config = recipe("rain_msm_v5")
    channels, table = describe_network(config)
    assert (len(channels), sum(table.values())) == (53, 111_418_992)
    assert config.model == V5
    assert config.train.model_dump(exclude={"select", "workers", "devices"}) == {
        "epochs": 60, "batch_size": 8, "micro_batch": None, "lr": 5e-5, "lr_scale_world": True,
        "scheduler": "cosine", "min_lr": 1e-6, "warmup_steps": 0, "warmup_fraction": 0.0,
        "weight_decay": 0.01, "decay_all": True, "clip_norm": 1.0, "early_stopping": None,
        "ema": None, "precision": None, "seed": 1,
    }  # fmt: skip
    loss = config.loss
    assert loss.manual_weights == [1, 5, 20, 100, 250, 500, 1000]
    assert (loss.weights, loss.mask_mm, loss.normaliser) == ("manual", 0.1, "weights")
    assert (loss.kl, loss.focal) == (0, 0)
    data = config.data
    assert (data.tile, data.flips, data.drop_neighbours, data.context) == (None, False, 0, [])
    assert data.scaling == "minmax_groups"


# ---------------------------------------------------------------------------- samples


@pytest.mark.parametrize("n", [True, False])
def test_a_sample_holds_the_stored_numbers(recipe, tmp_path, n):
    store = write_msm_store(tmp_path / "store", n=n)
    names = [*field_names(recipe("rain_msm").data), "Prec_ft3", "S", "N", "N_present"]
    dataset = RainDataset(store, "validation", names)
    sample = dataset[1]
    rain, fields = store.read("rain", 5), store.read("fields", 5)
    assert len(rain) == (6 if n else 5)
    np.testing.assert_array_equal(sample["input"][:48], fields)
    np.testing.assert_array_equal(sample["input"][48], rain[0])
    np.testing.assert_array_equal(sample["input"][49], rain[4])
    following, present = sample["input"][50:].numpy()
    assert np.isnan(following).all() != n
    assert (present == n).all()
    np.testing.assert_array_equal(sample["target_1h"], rain[1:4])
    assert dataset.window(1)[1].shape == (6, 40, 40)
    # What may change a sample must not reach the store.
    sample["target_1h"][:] = -1
    np.testing.assert_array_equal(store.read("rain", 5), rain)


def test_without_views_a_training_sample_is_the_stored_one(recipe, folder):
    data = recipe("rain_msm_v5").data
    store = SampleStore(folder / "store")
    names = [*field_names(data), "Prec_ft3"]
    plain = RainDataset(store, "train", names)[2]
    drawn = RainDataset(store, "train", names, data, seed=1)[3, 2]
    assert all(np.array_equal(plain[key], drawn[key]) for key in plain)


def test_a_mirrored_wind_blows_the_other_way(recipe):
    data = recipe("rain_msm_v5", "data.flips=true").data
    others = ("U850_ft3", "V10m_ft6", "R925_ft3", "Prmsl_ft3", "U300_ft6")
    # Each cell of a plane has its own number, so that a view shows which mirror it went through.
    planes = np.arange(1.0, 12 * 11 + 1).reshape(11, 3, 4).astype(np.float32)
    seen = set()
    generator = np.random.default_rng(0)
    for _ in range(40):
        view = augment(planes, data, generator, others=others)
        east_west = view[0, 0, 0] in (planes[0, 0, -1], planes[0, -1, -1])
        north_south = view[0, 0, 0] in (planes[0, -1, 0], planes[0, -1, -1])
        seen.add((bool(east_west), bool(north_south)))
        expected = planes[:, :: -1 if north_south else 1, :: -1 if east_west else 1].copy()
        expected[[6, 10]] *= -1 if east_west else 1
        expected[7] *= -1 if north_south else 1
        np.testing.assert_array_equal(view, expected)
    assert len(seen) == 4


def test_winds_are_known_by_name():
    components = {name: wind_component(name) for name in ("U10m_ft3", "V300_ft6", "T850_ft3")}
    assert components == {"U10m_ft3": "eastward", "V300_ft6": "northward", "T850_ft3": None}


def test_scaled_fields_of_the_training_years_have_mean_0_and_spread_1(recipe, folder):
    store = SampleStore(folder / "store")
    training = np.stack([store.read("fields", i) for i in range(4)]).astype(np.float64)
    scales = field_scales(recipe("rain_msm").data, store)
    assert [s.units for s in scales[:8:2]] == ["Pa", "m s-1", "m s-1", "K"]
    for i, scale in enumerate(scales):
        scaled = (training[:, i] - scale.mean) / scale.std
        assert abs(scaled.mean()) < 1e-9
        assert scaled.std() == pytest.approx(1, abs=1e-9)


def test_some_fields_may_be_chosen_in_any_order(recipe, folder):
    data = recipe("rain_msm", "data.fields=[GH500, U850]").data
    store = SampleStore(folder / "store")
    names = [scale.name for scale in field_scales(data, store)]
    assert names == ["GH500_ft3", "GH500_ft6", "U850_ft3", "U850_ft6"]
    sample = RainDataset(store, "test", names)[0]
    np.testing.assert_array_equal(sample["input"], store.read("fields", 6)[[36, 37, 28, 29]])


# ---------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    ("override", "words"),
    [
        ("data.files=[rain.nc]", "opens a finished store"),
        ("data.source=hourly", "at least one file in data.files"),
        ("data.source=hourly data.files=[a.nc] data.layout=compact", "need source=msm"),
        ("data.time_reversal=true", "weather does not run backwards"),
        ("data.fields=[]", "must name s"),
        ("model.prior=linear", "needs 's' in data.context"),
        ("data.scaling=standard data.scaler_file=a.json", "needs scaling=minmax_groups"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(recipe, override, words):
    with pytest.raises(ConfigError) as caught:
        recipe("rain_msm_v5", *override.split())
    assert words in str(caught.value)


def test_without_a_store_the_message_says_what_could_make_one(recipe, tmp_path):
    with pytest.raises(DataError) as caught:
        open_prepared(recipe("rain_msm", f"data.store={tmp_path / 'none'}"))
    assert "no monthly files to prepare one from" in str(caught.value)
    assert str(tmp_path / "none") in str(caught.value)


def hectopascals(meta):
    meta["arrays"]["fields"]["units"][0] = "hPa"


def rain_in_metres(meta):
    meta["arrays"]["rain"]["units"] = "m"


def no_statistics(meta):
    del meta["statistics"]["fields"]


def no_fields(meta):
    del meta["arrays"]["fields"]


def other_bins(meta):
    meta["config"]["loss"]["bins_1h"] = [1, 2]


def other_split(meta):
    meta["splits"][3] = "validation"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (hectopascals, ("Prmsl_ft3", "found hPa, expected Pa")),
        (rain_in_metres, ("arrays.rain", "in m,", "in mm")),
        (no_statistics, ("statistics.fields", "expected 48")),
        (no_fields, ("a store of rain alone", "V300_ft6")),
        (other_bins, ("loss.bins_1h", "[1, 2]")),
        (other_split, ("data.splits", "4 train", "by t0")),
    ],
)
def test_a_store_that_does_not_fit_is_refused(recipe, altered, change, words):
    config = recipe("rain_msm", altered(change))
    with pytest.raises(DataError) as caught:
        open_prepared(config)
    for word in words:
        assert word in str(caught.value)


def test_a_field_that_the_store_lacks_is_named(recipe):
    with pytest.raises(DataError, match="W700_ft3, W700_ft6"):
        open_prepared(recipe("rain_msm", "data.fields=[U850, W700]"))


def test_splits_go_by_t0_not_by_the_window(folder, recipe):
    store = open_prepared(recipe("rain_msm"))
    # The window of 31 December 2021, 21 UTC, lies in 2022.
    assert store.meta["starts"][3].startswith("2022-01-01T00")
    assert store.meta["splits"][3] == "train"
    assert store.meta["arrays"]["rain"]["channels"] == list(RAIN)
