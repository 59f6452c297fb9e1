"""Exported models: what was written is read back, and every damage is told from the others."""

import json
import pickle
import shutil
from hashlib import sha256
from pathlib import Path

import pytest
import safetensors.torch
import torch
from safetensors import safe_open
from torch import nn

from tenkizu.core import checkpoint
from tenkizu.core.checkpoint import find_model, load_model, load_weights, save_model
from tenkizu.core.errors import DataError

METADATA = {"kind": "rain", "name": "demo", "channels": [{"name": "S", "units": "mm"}]}


def network(seed=1, width=4):
    torch.manual_seed(seed)
    return nn.Sequential(nn.Conv2d(2, width, 3), nn.BatchNorm2d(width), nn.Conv2d(width, 3, 1))


@pytest.fixture
def folder(tmp_path):
    return save_model(tmp_path / "model", network().state_dict(), METADATA)


def change(folder, **keys):
    """Rewrite entries of model.json."""
    path = folder / "model.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | keys))


def refusal(folder, kind="rain"):
    """The message with which a model is refused."""
    with pytest.raises(DataError) as caught:
        load_model(folder, kind)
    return str(caught.value)


# Round trip


def test_model_predicts_the_same_after_the_round_trip(folder):
    original, loaded = network(seed=1).eval(), network(seed=2).eval()
    weights, metadata = load_model(folder, "rain")
    load_weights(loaded, weights, folder)
    x = torch.randn(1, 2, 5, 5)
    assert torch.equal(loaded(x), original(x))
    assert metadata["channels"] == METADATA["channels"]
    # 2 x 4 x 9 + 4, a mean, variance, weight and bias for each of 4, 4 x 3 + 3.
    assert metadata["parameters"] == 76 + 16 + 15
    assert metadata["versions"]["torch"] == torch.__version__
    assert {p.name for p in folder.iterdir()} == {"model.safetensors", "model.json"}


def test_every_type_and_layout_of_tensor_is_kept(tmp_path):
    weights = {
        "float": torch.tensor([0.1, float("nan"), float("-inf")]),
        "half": torch.randn(3).bfloat16(),
        "steps": torch.tensor(2**60),
        "log": torch.tensor([True, False]),
        "transposed": torch.arange(6.0).reshape(2, 3).T,
        "trained": nn.Parameter(torch.randn(2)),
        "empty": torch.empty(0, 4),
    }
    loaded, _ = load_model(save_model(tmp_path / "model", weights, METADATA), "rain")
    assert loaded.keys() == weights.keys()
    for name, tensor in weights.items():
        torch.testing.assert_close(
            loaded[name], tensor.detach(), rtol=0, atol=0, equal_nan=True, msg=name
        )


def test_weights_are_readable_by_safetensors_alone(folder):
    original = network().state_dict()
    with safe_open(folder / "model.safetensors", "pt") as file:
        assert set(file.keys()) == set(original)
        assert all(torch.equal(file.get_tensor(name), original[name]) for name in original)


def test_interrupted_export_leaves_the_old_model(folder, monkeypatch):
    def fail(tensors, path):
        Path(path).write_bytes(b"half")
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_file", fail)
    with pytest.raises(KeyboardInterrupt):
        save_model(folder, network(seed=2).state_dict(), METADATA)
    weights, _ = load_model(folder, "rain")
    assert torch.equal(weights["0.weight"], network(seed=1)[0].weight)
    assert {p.name for p in folder.iterdir()} == {"model.safetensors", "model.json"}


def test_weights_of_another_architecture_do_not_fit(folder):
    weights, _ = load_model(folder, "rain")
    with pytest.raises(DataError, match="do not fit the described network") as caught:
        load_weights(network(width=5), weights, folder)
    assert str(folder) in str(caught.value)
    assert "size mismatch" in str(caught.value)
    del weights["2.bias"]
    with pytest.raises(DataError, match=r"Missing key.*2\.bias"):
        load_weights(network(), weights, folder)


# Damage


def test_every_flipped_byte_of_the_weights_is_found(tmp_path):
    folder = save_model(tmp_path, {"weight": torch.arange(6.0)}, METADATA)
    path = folder / "model.safetensors"
    good = path.read_bytes()
    for position in range(len(good)):
        damaged = bytearray(good)
        damaged[position] ^= 1 << position % 8
        path.write_bytes(damaged)
        assert refusal(folder).startswith(f"{path}: damaged, or from another model; found sha256")
    path.write_bytes(good)
    load_model(folder, "rain")


def test_truncated_weights_are_found(folder):
    path = folder / "model.safetensors"
    good = path.read_bytes()
    for kept in (0, 1, 8, len(good) // 2, len(good) - 1):
        path.write_bytes(good[:kept])
        assert f"{path}: damaged, or from another model" in refusal(folder)


def test_every_truncation_of_the_description_is_found(folder):
    path = folder / "model.json"
    good = path.read_bytes()
    assert good.endswith(b"}\n")
    for kept in range(len(good) - 1):
        path.write_bytes(good[:kept])
        message = refusal(folder)
        assert message.startswith(f"{path}: damaged: ")
        assert "expected the description of a tenkizu model" in message


def test_weights_of_two_models_are_not_mixed_up(tmp_path):
    first = save_model(tmp_path / "first", network(seed=1).state_dict(), METADATA)
    second = save_model(tmp_path / "second", network(seed=2).state_dict(), METADATA)
    shutil.copy(second / "model.safetensors", first / "model.safetensors")
    digest = sha256((second / "model.safetensors").read_bytes()).hexdigest()
    message = refusal(first)
    assert "damaged, or from another model" in message
    assert f"found sha256 {digest[:12]}" in message
    assert "copy the whole model folder again" in message


def test_missing_weights_are_named(folder):
    (folder / "model.safetensors").unlink()
    message = refusal(folder)
    assert message == f"{folder / 'model.safetensors'}: cannot be read: No such file or directory"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ('{"hello": "world"}', "found format None, version None, expected format tenkizu-model"),
        ('{"format": "onnx", "format_version": 1}', "found format onnx, version 1"),
        ("[]", "not a JSON object"),
        ("weights and biases", "damaged: Expecting value"),
    ],
)
def test_foreign_description_is_refused(folder, text, message):
    (folder / "model.json").write_text(text)
    assert message in refusal(folder)


def test_model_of_a_future_version_is_refused(folder):
    change(folder, format_version=2)
    message = refusal(folder)
    assert "not a model this version can read" in message
    assert "found format tenkizu-model, version 2, expected format tenkizu-model, version 1" in (
        message
    )
    assert "export it again with this version of tenkizu" in message


def test_model_of_the_other_system_is_refused(folder):
    message = refusal(folder, kind="patterns")
    assert "a model of the other system; found rain, expected patterns" in message
    assert "use `tenkizu rain`" in message


class Malicious:
    """Creates a file when it is unpickled."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return Path.touch, (self.path,)


@pytest.mark.parametrize("dump", [pickle.dumps, None], ids=["pickle", "torch.save"])
def test_pickle_in_place_of_weights_is_never_executed(folder, tmp_path, dump):
    path, executed = folder / "model.safetensors", tmp_path / "executed"
    if dump:
        path.write_bytes(dump(Malicious(executed)))
    else:
        torch.save({"weight": Malicious(executed)}, path)
    assert "damaged, or from another model" in refusal(folder)
    change(folder, weights_sha256=sha256(path.read_bytes()).hexdigest())
    assert f"{path}: not a safetensors file" in refusal(folder)
    assert not executed.exists()
    if dump:
        pickle.loads(path.read_bytes())
        assert executed.exists()  # it would have been


def test_weights_file_with_a_matching_hash_but_wrong_content_is_refused(folder):
    path = folder / "model.safetensors"
    good = safetensors.torch.save({"weight": torch.zeros(3)})
    for bad in (b"", b"\xff" * 16, good[:-1], good + b"\0", b"\0" * 8):
        path.write_bytes(bad)
        change(folder, weights_sha256=sha256(bad).hexdigest())
        assert f"{path}: not a safetensors file" in refusal(folder)


# Finding models


@pytest.fixture
def shipped(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "samples_folder", lambda: tmp_path / "package")
    for name in ("rain-small", "rain-imerg"):
        save_model(tmp_path / "package" / "models" / name, network().state_dict(), METADATA)
    return tmp_path / "package" / "models"


def test_model_is_found_by_folder_and_by_shipped_name(folder, shipped):
    assert find_model(folder) == find_model(str(folder)) == folder
    assert find_model("rain-small") == shipped / "rain-small"
    assert load_model("rain-imerg", "rain")[1]["name"] == "demo"


def test_own_folder_goes_before_a_shipped_name(shipped, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    save_model("rain-small", network().state_dict(), METADATA)
    assert find_model("rain-small").resolve() == tmp_path / "rain-small"


def test_unknown_name_lists_what_exists(shipped):
    with pytest.raises(DataError, match="rain-big: no such model") as caught:
        find_model("rain-big")
    assert "or one of: rain-imerg, rain-small" in str(caught.value)
    assert "tenkizu models" in str(caught.value)


def test_unknown_name_without_shipped_models_says_so(tmp_path, monkeypatch):
    monkeypatch.setattr(checkpoint, "samples_folder", lambda: tmp_path)
    with pytest.raises(DataError, match="no model ships with this version"):
        find_model("rain-big")


def test_unfinished_run_says_how_to_finish_it(tmp_path):
    (tmp_path / "last.ckpt").touch()
    message = refusal(tmp_path)
    assert message.startswith(f"{tmp_path}: the run has no exported model yet")
    assert "expected model.json and model.safetensors" in message
    assert "--resume" in message


def test_folder_without_a_model_is_named(tmp_path):
    assert refusal(tmp_path).startswith(f"{tmp_path}: not a model folder")
