"""Tensors told apart by the sha256 of their names, types, shapes and bytes."""

import hashlib

import torch


def digest_tensors(tensors, *texts):
    """Return the sha256 of named tensors, their types, shapes and bytes, and of some texts."""
    digest = hashlib.sha256("".join(texts).encode())
    for key, tensor in tensors.items():
        digest.update(f"{key} {tensor.dtype} {tuple(tensor.shape)}\n".encode())
        digest.update(tensor.detach().cpu().contiguous().reshape(-1).view(torch.uint8).numpy().data)
    return digest.hexdigest()
