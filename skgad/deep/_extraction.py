"""What an extractor's parameters mean: which network, which weights, which squares, which levels; and the features."""

from functools import lru_cache, partial

import numpy as np

from .._conventions._levels import choose_levels, feature_names
from ..exceptions import BackboneError, WeightsError
from ._architectures import check_image_size, find_architecture
from ._backbone import Backbone
from ._batches import extract, extract_maps
from ._cache import fingerprint_features
from ._network import PRECISIONS, find_device, load_network
from ._resizing import describe_rule, find_box, make_resizer
from ._weights import describe_origin

_POOLS = ("mean", "max")


class Extraction:
    """The parameters of a `DeepFeatureTransformer` that features depend on, checked and resolved.

    Attributes
    ----------
    settings : dict
        All that features depend on, besides images and weights, in plain types.
    names : ndarray of str
        Of the features.
    find_box : callable
        From the height and width of an image to the box of it that the square shows.

    Raises
    ------
    ValueError
        If a parameter is unknown or out of range.
    BackboneError
        If the network is unknown.
    """

    def __init__(self, *, backbone, levels, weights, pool, image_size, resize, precision):
        _check_choice("pool", pool, _POOLS)
        _check_choice("precision", precision, PRECISIONS)
        self._backbone, self._weights = backbone, weights
        self._architecture = find_architecture(backbone)
        known = [level.number for level in self._architecture.levels]
        chosen = choose_levels(levels, known, of=f"the levels of {backbone!r}")
        size = self._architecture.image_size if image_size is None else int(image_size)
        check_image_size(backbone, size)
        self.settings = {
            "backbone": self._architecture.name,
            "levels": chosen,
            "image_size": size,
            "resize": describe_rule(resize, backbone, self._architecture, size),
            "pool": pool,
            "precision": precision,
            "mean": list(self._architecture.mean),
            "std": list(self._architecture.std),
            "modules": [self._architecture.levels[number - 1].module for number in chosen],
        }
        self._resize = make_resizer(resize, backbone, self._architecture, size)
        self.find_box = partial(find_box, resize, backbone, self._architecture, size)
        self.names = _name_features(tuple((number, self._count_channels(number)) for number in chosen))

    def find_sha256(self, store, device):
        """Return the fingerprint of the weights; an open store may know it, so that no network is needed."""
        if isinstance(self._backbone, Backbone):
            return self._backbone.sha256
        origin = None if store is None else self._describe_origin()
        if origin is None:
            return self.load_network(device).sha256
        return store.get_weights(origin) or self._note_sha256(store, origin, device)

    def load_network(self, device):
        """Return the network on a device, once a process."""
        return load_network(self._backbone, self._weights, device)

    def pool(self, images, sha256, *, device, batch_size, num_workers, store=None):
        """Yield the pooled features of images, in batches; an open store gets all levels of what it lacks."""
        asked = self.settings["levels"]
        numbers = asked if store is None else [level.number for level in self._architecture.levels]
        columns = self._find_columns(numbers, asked)

        def run(batch):
            network = self.load_network(device)
            if network.sha256 != sha256 and store is not None and self._describe_origin() is not None:
                self._note_sha256(store, self._describe_origin(), device)  # what the store had noted is out of date
            check_same_weights(self.settings["backbone"], network.sha256, sha256)
            return network.pool_levels(batch, numbers, self.settings["pool"], self.settings["precision"])

        batches = extract(
            images,
            self._resize,
            run,
            n_features=sum(self._count_channels(number) for number in numbers),
            batch_size=batch_size,
            num_workers=num_workers,
            store=store,
            fingerprint=self._fingerprint(sha256, find_device(device).type),
        )
        for batch in batches:
            yield batch._replace(pooled=batch.pooled[:, columns])

    def lay_out_maps(self, images, rows, sha256, *, device, batch_size, num_workers):
        """Yield the feature maps of the images at the positions `rows`, in batches.

        Raises
        ------
        BackboneError
            If one of the levels has no map, or one whose places are not known.
        """
        self._check_has_maps()

        def run(batch):
            network = self.load_network(device)
            check_same_weights(self.settings["backbone"], network.sha256, sha256)
            return network.map_levels(batch, self.settings["levels"], self.settings["precision"])

        return extract_maps(images, rows, self._resize, run, batch_size=batch_size, num_workers=num_workers)

    def verify(self, settings, sha256, found_sha256):
        """Raise WeightsError unless these settings and weights are those that an estimator was fitted with."""
        for name, fitted in settings.items():
            if self.settings[name] != fitted:
                raise WeightsError(f"Fitted with {name} {fitted!r}, but it is now {self.settings[name]!r}; fit anew.")
        check_same_weights(self.settings["backbone"], found_sha256, sha256)

    def _check_has_maps(self):
        name = self.settings["backbone"]
        if name.startswith("hiera"):
            raise BackboneError(f"The tokens of {name} stand in no order of rows, so that its levels have no maps.")
        vectors = [n for n in self.settings["levels"] if self._architecture.levels[n - 1].layout == "NC"]
        if vectors:
            raise BackboneError(
                f"Levels {vectors} of {name} are vectors without locations: they have no maps. Leave them out."
            )

    def _describe_origin(self):
        return (
            None if isinstance(self._backbone, Backbone) else describe_origin(self.settings["backbone"], self._weights)
        )

    def _note_sha256(self, store, origin, device):
        sha256 = self.load_network(device).sha256
        store.put_weights(origin, sha256)
        return sha256

    def _fingerprint(self, sha256, device_type):
        settings = [(key, value) for key, value in self.settings.items() if key not in ("levels", "modules")]
        exact = self.settings["precision"] == "float32"  # the others round differently on each kind of device
        return fingerprint_features(sha256, settings, self._architecture.levels, None if exact else device_type)

    def _count_channels(self, number):
        return self._architecture.levels[number - 1].channels

    def _find_columns(self, numbers, asked):
        """Return where the features of some levels stand among those of others."""
        if numbers == asked:
            return slice(None)
        ends = dict(zip(numbers, np.cumsum([self._count_channels(number) for number in numbers]), strict=True))
        return np.concatenate([np.arange(ends[n] - self._count_channels(n), ends[n]) for n in asked])


def check_same_weights(name, sha256, expected):
    """Raise WeightsError unless two fingerprints are the same."""
    if sha256 != expected:
        raise WeightsError(
            f"The weights of {name} found here are not those that this transformer was fitted with (sha256 "
            f"{sha256[:12]}... against {expected[:12]}...), so its detectors would give other scores. "
            "Give the same file as weights=, or fit anew."
        )


@lru_cache(maxsize=32)
def _name_features(widths):
    return np.asarray([name for number, width in widths for name in feature_names(number, width)], dtype=object)


def _check_choice(name, value, known):
    if value not in known:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, known))}; got {value!r}.")
