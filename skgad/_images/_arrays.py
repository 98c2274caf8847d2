"""Images given as arrays or tensors: their form, checked, and their values on the scale 0 to 255.

Arrays: (H, W) or (H, W, C) with 1, 3 or 4 channels; tensors: (H, W) or (C, H, W). uint8 as it is, uint16 divided by
257, floats taken for the range 0 to 1. Grey is repeated in three channels, an alpha channel is dropped. Torch is never
imported here: whoever passes a tensor has done so.
"""

import sys

import numpy as np

from ..exceptions import ImageError

_ROUNDING = 1e-5  # by so much floats may miss [0, 1]


def is_tensor(item):
    """Return whether an image, or a batch of them, is a torch tensor."""
    torch = sys.modules.get("torch")
    return torch is not None and isinstance(item, torch.Tensor)


def to_array(tensor, name, batch=False):
    """Return a tensor, channels first, as an array, channels last.

    Parameters
    ----------
    tensor : Tensor
    name : str
        What an error calls it.
    batch : bool, default=False
        Whether it holds several images.

    Raises
    ------
    ImageError
        If NumPy cannot hold it, or its shape is none of an image or a batch.
    """
    try:
        if tensor.is_floating_point():
            tensor = tensor.float()  # NumPy knows no bfloat16
        array = tensor.detach().cpu().numpy()
    except (RuntimeError, TypeError) as error:  # sparse, quantised, without data
        raise ImageError(f"{name} is a tensor that NumPy cannot hold: {str(error).rstrip('.')}.") from error
    n_axes = array.ndim - batch
    if n_axes == 3 and array.shape[-3] not in (1, 3, 4):
        form = "(n, C, H, W)" if batch else "(C, H, W)"
        raise ImageError(f"{name} is a tensor of shape {tuple(tensor.shape)}; {form} with C = 1, 3 or 4 is needed.")
    if batch and array.ndim == 3 and len(array) in (3, 4):
        raise ImageError(
            f"X is a tensor of shape {tuple(tensor.shape)}: one colour image, or {len(array)} grey ones? Pass X[None] "
            "for the one, X[:, None] for the others."
        )
    return np.moveaxis(array, -3, -1) if n_axes == 3 else array


def check_form(image, name, was_tensor=False):
    """Raise ImageError unless an array, which may have been a tensor, has the shape and the type of an image."""
    if isinstance(image, np.ma.MaskedArray):
        raise ImageError(f"{name} is a masked array. Fill what is masked, .filled(0), or leave the image out.")
    if image.ndim not in (2, 3) or (image.ndim == 3 and image.shape[-1] not in (1, 3, 4)):
        first = image.ndim == 3 and image.shape[0] in (1, 3, 4)
        remedy = " Channels come last: np.moveaxis(image, 0, -1)." if first else ""
        raise ImageError(
            f"{name} has shape {image.shape}; (H, W) or (H, W, C) with 1, 3 or 4 channels is needed.{remedy}"
        )
    if 0 in image.shape:
        raise ImageError(f"{name} has shape {image.shape}: no pixels.")
    if image.dtype.kind != "f" and (image.dtype.kind, image.dtype.itemsize) not in (("u", 1), ("u", 2)):
        raise ImageError(
            f"{name} has type {image.dtype}; uint8, uint16 or floats in [0, 1] are needed.{_advise(image, was_tensor)}"
        )


def scale_array(image, name):
    """Return an image as an array (H, W, 3) on the scale 0..255, uint8 or float32; `image` is never written to.

    Raises
    ------
    ImageError
        If its shape, type or values are not those of an image.
    """
    check_form(image, name)
    image = np.asarray(image)  # of a matrix, which has two axes always, np.repeat writes beyond its end
    if image.dtype.kind == "f":
        _check_floats(image, name)
        image = np.clip(image.astype(np.float32), 0, 1) * np.float32(255)
    elif image.dtype.itemsize == 2:
        image = image.astype(np.float32) / np.float32(257)
    image = image[..., np.newaxis] if image.ndim == 2 else image[..., :3]
    return np.repeat(image, 3, axis=-1) if image.shape[-1] == 1 else image


def _check_floats(image, name):
    if not np.isfinite(image).all():
        raise ImageError(f"{name} has NaN or infinite values.")
    low, high = image.min(), image.max()
    if low >= -_ROUNDING and high <= 1 + _ROUNDING:
        return
    scale = next((scale for scale in (255, 65535) if high <= scale), None)
    remedy = "rescale them" if scale is None or low < 0 else f"divide by {scale}"
    raise ImageError(f"{name} has floats from {low:.6g} to {high:.6g}; they must lie in [0, 1]: {remedy}.")


def _advise(image, was_tensor):
    """Return what makes an image of another type usable, as far as its values tell; sentences, or nothing."""
    if image.dtype.kind not in "biu":
        return ""
    low, high = int(image.min()), int(image.max())
    cast = "to(torch." if was_tensor else "astype(np."
    if image.dtype.kind == "b" and not was_tensor:
        return " Is False black, and True white? Then pass image * np.uint8(255)."
    if low >= 0 and high <= 1:
        return f" Is 0 black, and 1 white? Then pass (image * 255).{cast}uint8)."
    if low >= 0 and high <= 65535:
        scale, dtype = (255, "uint8") if high <= 255 else (65535, "uint16")
        return f" Is it on the scale 0..{scale}? Then pass it .{cast}{dtype})."
    return f" Its values, {low} to {high}, are on neither scale: rescale it."
