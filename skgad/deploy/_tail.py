"""What follows the network in a graph: reductions, Gaussians, the score, the conformal staircase; as plain operators.

A distance is a norm of the whitened deviation. Where a covariance is a few directions on top of a multiple of the
identity, the part along them and the rest are measured apart: a difference of squares would lose in float32 what it
keeps in float64.
"""

import numpy as np

from .._detectors._level_selector import LevelSelector
from .._detectors._npca import NPCA
from .._gaussian._factors import Cholesky, Diagonal, LowRank, Scaled
from ..exceptions import ExportError
from ..spatial._maps import count_top

REDUCTIONS = (NPCA, LevelSelector)


def add_reduction(builder, features, reduction):
    """Add `NPCA` or `LevelSelector`; return the tensor's name."""
    if isinstance(reduction, NPCA):
        groups = reduction._groups.values()
        parts = [
            builder.add(
                "MatMul", builder.add("Sub", builder.columns(features, columns), mean), np.ascontiguousarray(axes.T)
            )
            for columns, mean, axes in zip(groups, reduction.mean_, reduction.components_, strict=True)
        ]
        return parts[0] if len(parts) == 1 else builder.add("Concat", *parts, axis=1)
    return builder.columns(features, reduction._columns)


def add_distances(builder, features, detector):
    """Add the distances of a `MahalanobisDetector`, (n, n_levels); return the tensor's name."""
    found = detector._gaussians
    parts = [
        _add_norm(builder, builder.add("Sub", builder.columns(features, columns), gaussian.location), gaussian.factor)
        for columns, gaussian in zip(found.columns.values(), found.gaussians.values(), strict=True)
    ]
    return parts[0] if len(parts) == 1 else builder.add("Concat", *parts, axis=1)


def add_score(builder, distances):
    """Add minus the sum of the distances, (n,)."""
    return builder.add("Neg", builder.total(distances, 1))


def add_judgement(builder, score, offset, staircase=None):
    """Add the label, (n,), and, given a staircase, the p-value, (n,); return their names, None for no p-value."""
    label = builder.add("Where", builder.add("Less", score, np.float32(offset)), np.int64(-1), np.int64(1))
    if staircase is None:
        return label, None
    edges, p_values = staircase
    column = builder.add("Unsqueeze", score, np.array([1], dtype=np.int64))
    below = builder.add("Cast", builder.add("GreaterOrEqual", column, edges[np.newaxis]), to=7)  # int64
    return label, builder.add("Gather", p_values, builder.total(below, 1), axis=0)


def add_maps(builder, names, measures, size):
    """Add the distances of a `SpatialMahalanobisDetector` from the maps of all levels.

    Parameters
    ----------
    builder : Builder
    names : list of str
        Of the maps, (n, height, width, channels).
    measures : MapMeasures
    size : (height, width)
        Of the anomaly map.

    Returns
    -------
    score : str
        (n,).
    anomaly_map : str
        (n, height, width).
    """
    drawn, scores = [], []
    for name, level in zip(names, measures.levels, strict=True):
        distances = _add_level(builder, name, level, measures.neighborhood)  # (n, n_places)
        scores.append(_add_aggregate(builder, distances, level.shape, measures))
        shape = np.array([-1, 1, *level.shape], dtype=np.int64)
        drawn.append(builder.add("Reshape", distances, shape))
    mean = np.float32(1 / len(drawn))
    score = builder.add("Neg", builder.add("Mul", _add_sum(builder, scores), mean))
    shown = [_add_upsampled(builder, part, size) for part in drawn]
    squeezed = builder.add("Squeeze", _add_sum(builder, shown), np.array([1], dtype=np.int64))
    return score, builder.add("Mul", squeezed, mean)


def _add_norm(builder, centred, factor, squared=False):
    """Add the norm of whitened rows, (n, 1); squared if so."""
    if isinstance(factor, Scaled):
        return _add_norm(builder, builder.add("Mul", centred, 1 / factor.scales), factor.inner, squared)
    if isinstance(factor, Diagonal):
        squares = _add_squares(builder, builder.add("Mul", centred, 1 / factor.scales))
    elif isinstance(factor, Cholesky):
        squares = _add_squares(builder, builder.add("MatMul", centred, np.ascontiguousarray(factor.whitener.T)))
    elif isinstance(factor, LowRank):
        squares = _add_low_rank(builder, centred, factor)
    else:
        raise ExportError(f"{type(factor).__name__} has no place in a graph.")
    return squares if squared else builder.add("Sqrt", squares)


def _add_low_rank(builder, centred, factor):
    axes = builder.constant(factor.axes)
    along = builder.add("MatMul", centred, builder.add("Transpose", axes, perm=[1, 0]))
    rest = builder.add("Sub", centred, builder.add("MatMul", along, axes))
    inside = _add_squares(builder, builder.add("Mul", along, 1 / np.sqrt(factor.variances)))
    outside = _add_squares(builder, builder.add("Mul", rest, np.float32(1 / np.sqrt(factor.floor))))
    return builder.add("Add", inside, outside)


def _add_squares(builder, rows):
    return builder.total(builder.add("Mul", rows, rows), 1, keepdims=1)


def _add_level(builder, name, level, neighborhood):
    """Add the distance at each place of a level, (n, n_places)."""
    maps = name
    if neighborhood > 1:
        pads = [neighborhood // 2] * 4
        first = builder.add("Transpose", maps, perm=[0, 3, 1, 2])
        pooled = builder.add(
            "AveragePool",
            first,
            kernel_shape=[neighborhood] * 2,
            pads=pads,
            strides=[1, 1],
            count_include_pad=1,  # zeros beyond the border count
        )
        maps = builder.add("Transpose", pooled, perm=[0, 2, 3, 1])
    n_places, n_channels = level.shape[0] * level.shape[1], level.mean.shape[-1]
    rows = builder.add("Reshape", maps, np.array([-1, n_places, n_channels], dtype=np.int64))
    centred = builder.add("Sub", rows, level.mean[np.newaxis].astype(np.float32))
    whitener = np.ascontiguousarray(level.whitener.transpose(0, 2, 1), dtype=np.float32)
    if len(whitener) == 1:
        whitened = builder.add("MatMul", centred, whitener[0])  # (n, n_places, n_most)
        squares = builder.total(builder.add("Mul", whitened, whitened), 2)
    else:
        by_place = builder.add("Transpose", centred, perm=[1, 0, 2])  # (n_places, n, n_channels)
        whitened = builder.add("MatMul", by_place, whitener)
        squares = builder.add("Transpose", builder.total(builder.add("Mul", whitened, whitened), 2), perm=[1, 0])
    distances = builder.add("Sqrt", squares)
    if level.gain is not None:
        gain, shift = (part.reshape(1, -1).astype(np.float32) for part in (level.gain, level.shift))
        distances = builder.add("Relu", builder.add("Add", builder.add("Mul", distances, gain), shift))
    return distances


def _add_aggregate(builder, distances, shape, measures):
    axis = np.array([1], dtype=np.int64)
    if measures.aggregate == "max":
        return builder.add("ReduceMax", distances, axis, keepdims=0)
    if measures.aggregate == "top":
        count = np.array([count_top(shape[0] * shape[1], measures.top_share)], dtype=np.int64)
        distances = builder.add("TopK", distances, count, n_outputs=2, axis=1)[0]
    return builder.add("ReduceMean", distances, axis, keepdims=0)


def _add_upsampled(builder, maps, size):
    n_images = builder.add("Slice", builder.add("Shape", maps), *(np.array([at], dtype=np.int64) for at in (0, 1)))
    sizes = builder.add("Concat", n_images, np.array([1, *size], dtype=np.int64), axis=0)
    return builder.add("Resize", maps, "", "", sizes, mode="linear", coordinate_transformation_mode="half_pixel")


def _add_sum(builder, tensors):
    return tensors[0] if len(tensors) == 1 else builder.add("Sum", *tensors)
