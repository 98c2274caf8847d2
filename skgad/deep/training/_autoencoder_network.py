"""A ResNet-18 encoder to 32 numbers, and its mirror image: trained from scratch, on pixels in [0, 1]."""

import torch
from torch import nn
from torch.nn import functional

from .. import _timm
from .._torch import undisturbed
from ._trained_network import TrainedNetwork

_N_LATENTS = 32
_WIDTHS = (512, 256, 128, 64)  # of ResNet-18's stages, the deepest first
REDUCTION = 32  # of ResNet-18: an image's side must be a multiple


class AutoencoderNetwork(TrainedNetwork):
    """The autoencoder on its device. What it returns of images are they themselves, and what it makes of them.

    Parameters
    ----------
    image_size : int
        A multiple of 32.
    device : torch.device
    random_state : int
        Of the weights.
    """

    def __init__(self, image_size, device, random_state):
        with undisturbed():
            torch.default_generator.manual_seed(random_state)
            self.model = _Autoencoder(image_size)
        self.model = self.model.to(device).to(memory_format=torch.channels_last)
        self.device = device

    def __call__(self, squares, take=None):
        """Return [x, reconstruction], both (n, 3, size, size) in [0, 1], of images on the scale 0..255."""
        self.model.train(torch.is_grad_enabled())  # batch norm learns its statistics in steps, and keeps them elsewhere
        x = (squares.to(self.device) / 255).contiguous(memory_format=torch.channels_last)
        return [x, self.model(x)]


class ReconstructionObjective:
    """The mean squared error of an image's reconstruction."""

    n_altered = 0.0
    weight_decay = 0.0
    take = None

    def losses(self, outputs, altered=None):
        return error_maps(outputs).mean(dim=(1, 2))

    def scores(self, outputs):
        return self.losses(outputs)


def error_maps(outputs):
    """Return the squared error at each pixel, averaged over the colours: (n, size, size)."""
    x, reconstruction = outputs
    return (x - reconstruction).square().mean(dim=1)


class _Autoencoder(nn.Module):
    def __init__(self, image_size):
        super().__init__()
        self._side = image_size // REDUCTION
        self.encoder = _timm.create_encoder("resnet18", _N_LATENTS)
        self.widen = nn.Linear(_N_LATENTS, _WIDTHS[0] * self._side**2)
        stages: list[nn.Module] = []
        for width, following in zip(_WIDTHS, (*_WIDTHS[1:], 64), strict=True):
            stages += [_Block(width), _Block(width), _Up(width, following)]
        self.decoder = nn.Sequential(*stages, nn.Conv2d(64, 3 * 4, 3, padding=1), nn.PixelShuffle(2), nn.Sigmoid())

    def forward(self, x):
        latent = self.encoder(x)
        return self.decoder(self.widen(latent).reshape(len(x), _WIDTHS[0], self._side, self._side))


class _Block(nn.Module):
    """ResNet's basic block."""

    def __init__(self, width):
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
            nn.ReLU(),
            nn.Conv2d(width, width, 3, padding=1, bias=False),
            nn.BatchNorm2d(width),
        )

    def forward(self, x):
        return functional.relu(x + self.body(x))


class _Up(nn.Sequential):
    """Twice as many locations along a side, by pixel shuffle (Shi et al., CVPR 2016)."""

    def __init__(self, width, following):
        super().__init__(
            nn.Conv2d(width, 4 * following, 3, padding=1, bias=False),
            nn.PixelShuffle(2),
            nn.BatchNorm2d(following),
            nn.ReLU(),
        )
