"""Small Swin U-Nets, with weights that leave no term of the result out of sight."""

import torch

from tenkizu.rain.swin_unet import SwinUNet


def small_network(**changes):
    torch.manual_seed(0)
    settings = dict(embed_dim=8, depths=(2, 2, 2), num_heads=(1, 2, 4), drop_path=0.0)
    return SwinUNet(5, **(settings | changes))


def spread_out(module, size=0.5):
    """Give every parameter sizeable values, so that no term of the result is negligible."""
    generator = torch.Generator().manual_seed(1)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(size * torch.randn(parameter.shape, generator=generator))
    return module
