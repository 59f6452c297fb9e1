"""Activation checkpointing in a run: what is let go of, and that nothing else changes."""

import torch
from option_networks import changed
from safetensors.torch import load_file

from tenkizu.rain import train
from tenkizu.rain.module import RainModule


def test_a_run_that_spares_memory_learns_the_same_and_holds_no_gradients(tiny_config, monkeypatch):
    held = []
    step = RainModule.optimizer_step

    def counted(self, *args, **kwargs):
        step(self, *args, **kwargs)
        held.append(sum(p.grad is not None for p in self.parameters()))

    monkeypatch.setattr(RainModule, "optimizer_step", counted)
    # Dropped paths too must be the same ones in the second pass.
    plain = changed(tiny_config, run__name="plain", model__drop_path=0.3, train__epochs=1)
    usual = load_file(train(plain) / "model.safetensors")
    assert all(held)
    held.clear()
    sparing = changed(plain, run__name="sparing", model__activation_checkpointing=True)
    spared = load_file(train(sparing) / "model.safetensors")
    assert len(held) > 1
    assert not any(held)
    assert usual.keys() == spared.keys()
    for name, values in usual.items():
        torch.testing.assert_close(spared[name], values, rtol=1e-5, atol=1e-7)
