"""What an extractor's parameters mean: which network, which weights, which squares, which levels; and the features."""

from functools import lru_cache, partial

import numpy as np
import torch

from .._conventions._levels import choose_levels, feature_names
from .._conventions._parameters import check_int, read_size
from .._images._interest import Interest
from .._images._tiles import read_tiles
from ..exceptions import BackboneError, WeightsError
from ._batches import MapBatch, extract, extract_maps
from ._cache_keys import fingerprint_features
from ._engines import ENGINES, load_engine
from ._grid import name_cells, read_grid
from ._identity import check_same_network
from ._network import PRECISIONS, find_device, load_network
from ._persistence import find_weights
from ._preparation import Preparation
from ._recognition import note, recall, recognise
from ._resizing import describe_rule, find_box, make_resizer
from ._sources import find_source
from ._tiled import Tiles

_POOLS = ("mean", "max")


def resolve(extractor, native=None):
    """Return the `Extraction` that the parameters of a `DeepFeatureTransformer` mean.

    Parameters
    ----------
    extractor : DeepFeatureTransformer
    native : (height, width), default=None
        The photographs' own size, which holds where there are tiles and no `image_size`.

    Raises
    ------
    ValueError
        If a parameter is unknown or out of range.
    BackboneError
        If the network is unknown.
    """
    check_int("batch_size", extractor.batch_size, 1, optional=True)
    check_int("num_workers", extractor.num_workers, 0, optional=True)
    if extractor.on_bad_image not in ("raise", "nan"):
        raise ValueError(f"on_bad_image must be 'raise' or 'nan'; got {extractor.on_bad_image!r}.")
    return Extraction(
        backbone=extractor.backbone,
        levels=extractor.levels,
        weights=find_weights(extractor),
        pool=extractor.pool,
        grid=extractor.grid,
        image_size=read_size("image_size", extractor.image_size) or native,
        is_native=extractor.image_size is None,
        tiles=read_tiles(extractor.tiles),
        resize=extractor.resize,
        roi=None if extractor.roi is None else Interest(extractor.roi),
        precision=extractor.precision,
        engine=extractor.engine,
    )


class Extraction:
    """The parameters of a `DeepFeatureTransformer` that features depend on, checked and resolved.

    Attributes
    ----------
    settings : dict
        All that features depend on, besides images and weights, in plain types.
    names : ndarray of str
        Of the features.
    is_random : bool
        Whether the weights are.
    source : Source
        Of the network.
    resize : callable
        From a decoded image to what the network sees, a tensor (3, height, width).
    prepare : Preparation
        From a decoded image to what goes through the network, or is cut into tiles.
    find_box : callable
        From the height and width of an image to the box of it that the network sees.
    size : (height, width)
        Of images once they are resized, in pixels.
    tiles : Tiles or None

    Raises
    ------
    ValueError
        If a parameter is unknown or out of range.
    BackboneError
        If the network is unknown.
    """

    def __init__(
        self, *, backbone, levels, weights, pool, grid, image_size, is_native, tiles, resize, roi, precision, engine
    ):
        _check_choice("pool", pool, _POOLS)
        _check_choice("engine", engine, ENGINES)
        self._sides = read_grid(grid)
        _check_choice("precision", precision, PRECISIONS)
        self.source = find_source(backbone, weights)
        self._architecture = self.source.architecture
        self.is_random = self.source.is_random
        known = [level.number for level in self._architecture.levels]
        chosen = choose_levels(levels, known, of=f"the levels of {backbone!r}")
        self.size = size = image_size or (self._architecture.image_size,) * 2
        self.settings = {
            "backbone": self._architecture.name,
            "levels": chosen,
            "image_size": list(size),
            "tiles": None if tiles is None else list(tiles),
            "resize": describe_rule(resize, self.source, size),
            "pool": pool,
            "grid": list(self._sides),
            "roi": None if roi is None else roi.digest,
            "precision": precision,
            "engine": engine,
            "mean": list(self._architecture.mean),
            "std": list(self._architecture.std),
            "modules": [self._architecture.levels[number - 1].module for number in chosen],
        }
        if engine != "torch" and (precision != "float32" or roi is not None):
            what = "a region of interest" if roi is not None else f"precision={precision!r}"
            raise ValueError(f"{what} takes engine='torch'; engine={engine!r} works in float32, on whole images.")
        if tiles is not None and resize == "timm":
            raise ValueError("resize='timm' makes one square of an image, which leaves nothing to cut into tiles.")
        lack = self._find_lack("no region of interest")
        self.resize = make_resizer(resize, self.source, size)
        cut = None if tiles is None else Tiles.lay_out(size, tiles, self._architecture.levels)
        prepare = Preparation(self.resize, size, self._architecture.mean, roi, cut, is_native, lack)
        self.prepare = prepare.leave_tiles_out()
        self.tiles = self.prepare.tiles
        self.source.check_size(*(size if self.tiles is None else self.tiles.tiling.shape))
        self.find_box = partial(find_box, resize, self.source, size)
        if self._sides != (1,):
            self._check_has_maps("no cells: take grid=1")
        widths = tuple((number, self._architecture.levels[number - 1].channels) for number in chosen)
        self.names = _name_features(widths, tuple(self._name_cells()))

    def identify(self, store, device):
        """Return the `Identity` of the network; an open store may know it, so that no network is needed."""
        known = self.source.find_identity()
        if known is None and store is not None:
            origin = self.source.describe_origin()
            known = None if origin is None else recall(store, origin)
        if known is None:
            known = self.load_network(device).identity
            self._note(store, known)
        return known

    def load_network(self, device):
        """Return the network on a device, in its engine, once a process.

        Raises
        ------
        ValueError
            If the engine is not torch, and the device is not the CPU.
        """
        engine = self.settings["engine"]
        if engine != "torch" and find_device(device).type != "cpu":
            raise ValueError(f"engine={engine!r} works on the CPU: give device='cpu', or engine='torch'.")
        return load_engine(self.load_torch_network(device), engine)

    def load_torch_network(self, device):
        """Return the network on a device as torch runs it, once a process, whatever its engine."""
        return load_network(self.source, device)

    def pool_images(self, images, identity, *, device, batch_size, num_workers, store=None):
        """Yield the pooled features of images, in batches; an open store gets all levels of what it lacks."""
        asked = self.settings["levels"]
        numbers = asked if store is None else self._list_levels_to_keep()
        columns = self._find_columns(numbers, asked)

        def pool(batch):
            network = self.load_network(device)
            self._check(network.identity, identity, store)
            return network.pool_levels(batch, numbers, self.settings["pool"], self.settings["precision"], self._sides)

        def run(images):
            if self.tiles is None:
                return pool(_stack(images))
            widths = [self._count_features(number) // len(self.tiles.tiling.corners) for number in numbers]
            return np.stack([self.tiles.pool(image, pool, widths, batch_size) for image in images])

        batches = extract(
            images,
            partial(self.prepare, sides=self._sides),
            run,
            n_features=sum(self._count_features(number) for number in numbers),
            batch_size=batch_size if self.tiles is None else 1,
            num_workers=num_workers,
            store=store,
            fingerprint=b"" if store is None else self._fingerprint(store, identity, find_device(device).type),
        )
        for batch in batches:
            yield batch._replace(pooled=batch.pooled[:, columns])

    def lay_out_maps(self, images, rows, identity, *, device, batch_size, num_workers):
        """Yield the feature maps of the images at the positions `rows`, in batches, or those of its tiles.

        Raises
        ------
        BackboneError
            If one of the levels has no map, or one whose places are not known.
        """
        self._check_has_maps("no maps")
        levels = [self._architecture.levels[number - 1] for number in self.settings["levels"]]

        def lay_out(batch):
            network = self.load_network(device)
            self._check(network.identity, identity)
            return network.map_levels(batch, self.settings["levels"], self.settings["precision"])

        if self.tiles is None:
            yield from extract_maps(
                images,
                rows,
                self.prepare,
                lambda resized: lay_out(_stack(resized)),
                batch_size=batch_size,
                num_workers=num_workers,
            )
            return
        photographs = extract_maps(
            images, rows, self.prepare, lambda photographs: photographs, batch_size=1, num_workers=num_workers
        )
        for photograph in photographs:
            yield photograph._replace(rows=photograph.rows[:0], maps=[])  # errors, and that one more is there
            for whole in photograph.maps:
                for maps in self.tiles.iter_maps(whole, lay_out, levels, batch_size):
                    yield MapBatch(np.repeat(photograph.rows, len(maps[0])), maps, [], 0)

    def verify(self, settings, identity, found):
        """Raise WeightsError unless these settings and this network are those that an estimator was fitted with."""
        for name, fitted in settings.items():
            if self.settings[name] != fitted:
                raise WeightsError(f"Fitted with {name} {fitted!r}, but it is now {self.settings[name]!r}; fit anew.")
        check_same_network(self.settings["backbone"], found, identity)

    def _check(self, loaded, identity, store=None):
        """Raise WeightsError unless the loaded network is the one that the store had noted, which then learns of it."""
        try:
            check_same_network(self.settings["backbone"], loaded, identity)
        except WeightsError:
            self._note(store, loaded)
            raise

    def _note(self, store, identity):
        origin = None if store is None else self.source.describe_origin()
        if origin is not None:
            note(store, origin, identity)

    def _check_has_maps(self, lack):
        found = self._find_lack(lack)
        if found:
            raise BackboneError(found)

    def _find_lack(self, lack):
        """Return why levels lack what takes locations, a sentence; "" where they do not."""
        name = self.settings["backbone"]
        if name.startswith("hiera"):
            return f"The tokens of {name} stand in no order of rows, so that its levels have {lack}."
        vectors = [n for n in self.settings["levels"] if self._architecture.levels[n - 1].layout == "NC"]
        return (
            f"Levels {vectors} of {name} are vectors without locations: they have {lack}. Leave them out."
            if vectors
            else ""
        )

    def _fingerprint(self, store, identity, device_type):
        left_out = ["levels", "modules", "grid", *(name for name in ("tiles", "roi") if self.settings[name] is None)]
        left_out += ["engine"] if self.settings["engine"] == "torch" else []
        settings = [(key, value) for key, value in self.settings.items() if key not in left_out]
        if self._sides != (1,):
            settings.append(("grid", [*self._sides, *self._list_levels_to_keep()]))
        exact = self.settings["precision"] == "float32"  # the others round differently on each kind of device
        probe = recognise(store, self.settings["backbone"], tuple(self._architecture), identity)
        return fingerprint_features(
            identity.sha256, probe, settings, self._architecture.levels, None if exact else device_type
        )

    def _list_levels_to_keep(self):
        """Return the numbers of all levels; of those that were asked for, or surely fill the cells, where there are."""
        shape = self.settings["image_size"] if self.tiles is None else self.tiles.tiling.shape
        side, asked = min(shape), self.settings["levels"]
        return [
            level.number
            for level in self._architecture.levels
            if self._sides == (1,)
            or level.number in asked
            or (level.layout != "NC" and side // level.reduction > max(self._sides))
        ]

    def _count_features(self, number):
        return self._architecture.levels[number - 1].channels * len(self._name_cells())

    def _name_cells(self):
        """Return the names of the cells that each level is pooled over, in the order of their columns."""
        cells = name_cells(self._sides)
        return cells if self.tiles is None else [tile + cell for tile in self.tiles.tiling.cells for cell in cells]

    def _find_columns(self, numbers, asked):
        """Return where the features of some levels stand among those of others."""
        if numbers == asked:
            return slice(None)
        ends = dict(zip(numbers, np.cumsum([self._count_features(number) for number in numbers]), strict=True))
        return np.concatenate([np.arange(ends[n] - self._count_features(n), ends[n]) for n in asked])


@lru_cache(maxsize=32)
def _name_features(widths, cells):
    names = [name for number, width in widths for cell in cells for name in feature_names(number, width, cell)]
    return np.asarray(names, dtype=object)


def _stack(images):
    """Return images as one batch; where some have a channel of what is of interest, all of the others is."""
    n_channels = max(len(image) for image in images)
    whole = [
        image if len(image) == n_channels else torch.cat([image, torch.full_like(image[:1], 255)]) for image in images
    ]
    return torch.stack(whole)


def _check_choice(name, value, known):
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}; got {value!r}.")
