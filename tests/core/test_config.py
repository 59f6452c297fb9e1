import datetime as dt
import subprocess
import sys
from pathlib import Path
from typing import Literal

import pytest
import yaml
from pydantic import Field

from tenkizu.core.config import (
    Section,
    build_config,
    config_hash,
    dump_config,
    json_schema,
    load_config,
    read_kind,
    template,
)
from tenkizu.core.errors import ConfigError
from tenkizu.core.run_config import RunConfig, TrainConfig


class Data(Section):
    source: Path = Field(description="Folder of the monthly files.")
    years: tuple[int, ...] = Field(default=(2016, 2017), description="Years to read.")
    start: dt.date = Field(default=dt.date(2016, 4, 1), description="First day.")
    scale: dict[str, float] = Field(default={"rain": 1e-6}, description="Factor of each field.")


class Network(Section):
    depths: list[int] = Field(default=[2, 2, 6, 2], description="Blocks on each level.")
    tau: float = Field(default=1.0, gt=0, description="Temperature of the shares.")


class Plain(Section):
    kind: Literal["plain"] = "plain"


class Focal(Section):
    kind: Literal["focal"] = "focal"
    gamma: float = 2.0


class Loss(Section):
    weights: Literal["off", "auto"] | list[float] = Field(
        default="auto", description="Weights of the classes, " + "as in the paper, " * 8 + "or off."
    )
    shape: Plain | Focal = Field(default=Plain(), discriminator="kind", description="Loss shape.")
    kl: float | None = Field(default=None, description="Weight of the divergence; null for none.")


class Toy(Section):
    kind: Literal["toy"] = Field(default="toy", description="System the file is for.")
    run: RunConfig = Field(description="Where results go.")
    data: Data = Field(description="What is read.")
    model: Network = Field(default_factory=Network, description="The network.")
    loss: Loss = Field(default_factory=Loss, description="What is minimised.")
    train: TrainConfig = Field(default_factory=TrainConfig, description="The training.")


MINIMAL = """\
kind: toy
run:
  name: first
data:
  source: monthly
"""


@pytest.fixture
def toy_file(tmp_path):
    def write(text=MINIMAL):
        path = tmp_path / "toy.yaml"
        path.write_text(text, encoding="utf-8")
        return path

    return write


def complaint(path, *overrides):
    with pytest.raises(ConfigError) as caught:
        load_config(Toy, path, overrides)
    return str(caught.value)


def test_a_minimal_file_gives_the_defaults(toy_file):
    config = load_config(Toy, toy_file())
    assert config.data.source == Path("monthly")
    assert config.run.dir == Path("runs")
    assert (config.train.epochs, config.train.lr, config.train.precision) == (60, 5e-5, None)


def test_overrides_are_read_as_yaml(toy_file):
    config = load_config(
        Toy,
        toy_file(),
        [
            "train.epochs=3",
            "train.epochs=4",
            "model.depths=[2,2]",
            "loss.weights=off",
            "train.clip_norm=null",
            "train.lr=1e-3",
            "data.years=[2020]",
            "data.start=2020-01-02",
            "train.precision=32",
            "train.devices=2",
            "train.decay_all=yes",
            "run.on_finish=echo a=b",
        ],
    )
    assert config.train.epochs == 4
    assert config.model.depths == [2, 2]
    assert config.loss.weights == "off"
    assert config.train.clip_norm is None
    assert config.train.lr == 0.001
    assert config.data.years == (2020,)
    assert config.data.start == dt.date(2020, 1, 2)
    assert config.train.precision == "32"
    assert config.train.devices == 2
    assert config.train.decay_all is True
    assert config.run.on_finish == "echo a=b"


def test_numbers_inside_lists_of_a_union_keep_their_type(toy_file):
    text = MINIMAL + "loss:\n  weights: [1e-3, 2, .5]\n"
    assert load_config(Toy, toy_file(text)).loss.weights == [0.001, 2.0, 0.5]


def test_off_is_a_word_for_a_choice_and_none_for_an_optional_number(toy_file):
    text = MINIMAL + "loss: {weights: off, kl: off}\ntrain: {ema: off, early_stopping: off}\n"
    config = load_config(Toy, toy_file(text))
    assert config.loss == Loss(weights="off", kl=None)
    assert (config.train.ema, config.train.early_stopping) == (None, None)


def test_a_section_with_all_keys_commented_out_is_its_defaults(toy_file):
    assert load_config(Toy, toy_file(MINIMAL + "train:\n  # epochs: 3\n")).train == TrainConfig()


def test_an_unknown_key_is_refused_with_line_and_nearest_key(toy_file):
    path = toy_file(MINIMAL + "train:\n  epoch: 3\n")
    assert (
        complaint(path) == f"{path}, line 7: train.epoch: unknown key; did you mean train.epochs?"
    )


def test_an_override_may_be_a_sentence_or_a_shell_command(toy_file):
    command = 'echo "$TENKIZU_STATUS: $TENKIZU_MESSAGE" > note'
    assert load_config(Toy, toy_file(), [f"run.on_finish={command}"]).run.on_finish == command


@pytest.mark.parametrize(
    ("override", "advice"),
    [
        ("trian.epochs=3", "trian: unknown key; did you mean train?"),
        ("epochs=3", "epochs: unknown key; did you mean train.epochs?"),
        ("train.depth=[2]", "train.depth: unknown key; did you mean model.depths?"),
        ("model.zzz=1", "model.zzz: unknown key; expected one of depths, tau"),
        (
            "loss.shape={kind: plain, gamma: 1}",
            "loss.shape.gamma: unknown key; expected one of kind",
        ),
    ],
)
def test_an_unknown_key_in_an_override_names_the_override(toy_file, override, advice):
    assert complaint(toy_file(), override) == f"override '{override}': {advice}"


def test_all_errors_come_at_once_one_line_each(toy_file):
    path = toy_file(
        "kind: toy\nrun: {name: first}\ndata:\n  years: [2016, x]\nmodel:\n  tau: 0\n"
        "train:\n  scheduler: cosin\n  lr: true\n  batch_size: 8.5\n"
    )
    expected = {
        f"{path}, line 3: data.source: missing, and it has no default",
        f"{path}, line 4: data.years.1: wrong value; found 'x', expected a valid integer",
        f"{path}, line 6: model.tau: wrong value; found 0, expected greater than 0",
        f"{path}, line 8: train.scheduler: wrong value; found 'cosin', "
        "expected 'cosine', 'onecycle', 'plateau' or 'none'",
        f"{path}, line 9: train.lr: wrong value; found 'true', expected a valid number",
        f"{path}, line 10: train.batch_size: wrong value; found 8.5, "
        "expected a valid integer, got a number with a fractional part",
        "override 'train.epochs=0': train.epochs: wrong value; found 0, expected greater than 0",
    }
    assert set(complaint(path, "train.epochs=0").splitlines()) == expected


@pytest.mark.parametrize(
    ("override", "problem"),
    [
        ("train.devices=some", "found 'some', expected a valid integer or 'auto'"),
        ("loss.shape.kind=dice", "loss.shape.kind: wrong value; found 'dice', expected 'plain' or"),
        ("loss.shape.gamma=1", "loss.shape.kind: wrong value; found null, expected 'plain' or"),
        ("run.name=2020", 'found 2020, expected text, which needs quotes here: "2020"'),
        ("run.name=../up", "and hold only letters, digits, '.', '_' and '-'; found '../up'"),
        ("train=3", "train: wrong value; found 3, expected a section with keys"),
        ("train.ema=1.0", "train.ema: wrong value; found 1.0, expected less than 1"),
        ("train.lr=.inf", "train.lr: wrong value; found inf, expected a finite number"),
        ("train.micro_batch=3", "micro_batch: must divide batch_size, which is 8; found 3"),
        ("train.epochs", "cannot be read; expected key=value, such as train.epochs=3"),
        ("train..epochs=3", "cannot be read; expected key=value, such as train.epochs=3"),
        ("run.name.first=1", "cannot be set, because run.name is not a section; found 'first'"),
        ("model.depths=[2", "not valid YAML: while parsing a flow sequence"),
    ],
)
def test_a_wrong_override_says_what_was_expected(toy_file, override, problem):
    message = complaint(toy_file(), override)
    assert message.startswith(f"override '{override}': ")
    assert problem in message
    assert "\n" not in message


def test_a_rule_between_keys_holds_for_a_default_too(toy_file):
    path = toy_file(MINIMAL + "train:\n  lr: 1e-7\n")
    assert (
        complaint(path)
        == f"{path}, line 6: train.min_lr: must not be above lr, which is 1e-07; found 1e-06"
    )
    assert load_config(Toy, path, ["train.scheduler=none"]).train.lr == 1e-7


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", ": is empty; expected keys and values"),
        ("# nothing yet\n", ": is empty; expected keys and values"),
        ("- a\n- b\n", ": is not a mapping; found ['a', 'b'], expected lines of the form"),
        ("run: a\n  name: b\n", ", line 2, column 7: not valid YAML: mapping values are not"),
        ("train:\n\tepochs: 1\n", ", line 2, column 1: not valid YAML: "),
        (
            "data:\n  source: a\n  years: [1]\n  source: b\n",
            ", line 4, column 3: not valid YAML: the key 'source' is given twice",
        ),
        ("a: 1\n---\nb: 2\n", ", line 2, column 1: not valid YAML: expected a single document"),
        ("a: !!python/name:os.system\n", ", line 1, column 4: not valid YAML: could not determine"),
        ("a: !!int b\n", ": not valid YAML: "),
        ("a: \x07\n", ": not valid YAML: unacceptable character"),
    ],
)
def test_a_file_that_is_no_configuration_is_explained(toy_file, text, message):
    path = toy_file(text)
    assert complaint(path).startswith(f"{path}{message}")


def test_a_file_that_cannot_be_read_is_explained(tmp_path):
    assert complaint(tmp_path / "none.yaml").startswith(f"{tmp_path / 'none.yaml'}: no such file")
    assert complaint(tmp_path).startswith(f"{tmp_path}: cannot be read")
    (tmp_path / "sjis.yaml").write_bytes("name: 天気図".encode("shift-jis"))
    assert "is not UTF-8 text" in complaint(tmp_path / "sjis.yaml")


def test_a_key_beside_a_merged_one_is_not_a_repeated_key(toy_file):
    network = load_config(Network, toy_file("<<: {tau: 2, depths: [1]}\ntau: 3\n"))
    assert (network.tau, network.depths) == (3, [1])


def test_the_template_names_all_keys_and_loads_to_the_defaults(toy_file):
    text = template(Toy)
    assert "  name:   # required\n" in text
    assert "  # How the learning rate changes. One of: cosine, onecycle, plateau, none.\n" in text
    assert "  depths: [2, 2, 6, 2]\n" in text
    assert max(len(line) for line in text.splitlines()) <= 90
    filled = text.replace("name:   #", "name: first #").replace("source:   #", "source: monthly #")
    assert load_config(Toy, toy_file(filled)) == load_config(Toy, toy_file(MINIMAL))


def test_the_template_shows_the_defaults_of_the_enclosing_section():
    class Quick(Section):
        train: TrainConfig = Field(default=TrainConfig(epochs=2), description="A short training.")

    assert "# A short training.\ntrain:\n  # Passes over the training samples.\n  epochs: 2\n" in (
        template(Quick)
    )


def test_a_dump_loads_back_equal_in_this_dialect_and_in_plain_yaml(toy_file):
    config = load_config(
        Toy,
        toy_file(),
        [
            "loss={weights: off, shape: {kind: focal, gamma: 1e-7}}",
            "data.scale={'010': 1, off: .inf, 雨: 1e+20}",
            "run.on_finish='12:30'",
            "train.select='1e-3'",
        ],
    )
    text = dump_config(config)
    assert load_config(Toy, toy_file(text)) == config
    assert build_config(Toy, yaml.safe_load(text), "plain") == config
    assert [line for line in text.splitlines() if not line.startswith(" ")] == [
        "kind: toy", "run:", "data:", "model:", "loss:", "train:",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "word", ["off", "yes", "null", "~", "010", "1e-3", "2020-01-01", "1:30", ""]
)
def test_text_that_looks_like_something_else_survives_a_dump(toy_file, word):
    config = Toy(run=RunConfig(name="a"), data=Data(source="b"), train=TrainConfig(select=word))
    assert load_config(Toy, toy_file(dump_config(config))).train.select == word


def test_a_dictionary_builds_the_same_configuration(toy_file):
    config = load_config(Toy, toy_file())
    assert build_config(Toy, config.model_dump(), "model.json") == config
    with pytest.raises(ConfigError, match=r"^model\.json: data\.years\.1: wrong value; found 'x'"):
        build_config(Toy, {**config.model_dump(), "data": {"source": "a", "years": (1, "x")}},
                     "model.json")  # fmt: skip


def test_the_hash_ignores_key_order_and_sees_values(toy_file):
    # echo -n '{"a":[1,2],"b":{"c":null,"d":"x"}}' | sha256sum
    assert config_hash({"b": {"d": "x", "c": None}, "a": [1, 2]}) == "daf8b0a2c35b"
    config = load_config(Toy, toy_file())
    reordered = "data: {source: monthly}\nrun: {name: first}\nkind: toy\n"
    assert config_hash(config) == config_hash(load_config(Toy, toy_file(reordered)))
    assert config_hash(config) == config_hash(config.model_dump())
    assert config_hash(config) != config_hash(load_config(Toy, toy_file(), ["train.seed=2"]))


def test_the_kind_is_read_without_the_schema(toy_file):
    assert read_kind(toy_file("kind: rain\nnonsense: true\n")) == "rain"
    with pytest.raises(ConfigError, match="kind: missing; expected a line such as"):
        read_kind(toy_file("train: {}\n"))
    with pytest.raises(ConfigError, match="kind: is not a name; found 3"):
        read_kind(toy_file("kind: 3\n"))


def test_the_schema_describes_keys_and_forbids_others():
    schema = json_schema(Toy)
    assert schema["additionalProperties"] is False
    assert schema["required"] == ["run", "data"]
    train = schema["$defs"]["TrainConfig"]["properties"]
    assert train["scheduler"]["enum"] == ["cosine", "onecycle", "plateau", "none"]
    assert train["epochs"]["description"] == "Passes over the training samples."


@pytest.mark.parametrize("section", [RunConfig, TrainConfig])
def test_every_shared_key_has_one_sentence(section):
    for name, field in section.model_fields.items():
        assert field.description, name
        assert field.description.endswith("."), name


def test_configuration_and_doctor_do_not_import_torch():
    code = (
        "import sys, tenkizu.core.run_config, tenkizu.core.doctor; sys.exit('torch' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
