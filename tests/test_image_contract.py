import inspect

import pytest
from sklearn.base import clone

from skgad import DeepFeatureTransformer
from skgad.spatial import PatchNeighborsDetector, SpatialMahalanobisDetector, SpatialSubspaceDetector

from .conftest import LITE0
from .image_contract import CHECKS, check_feature_names

LEVELS = DeepFeatureTransformer(LITE0, levels=[4, 5], batch_size=3, image_size=64)
ESTIMATORS = {
    "all levels": DeepFeatureTransformer(LITE0, image_size=64),
    "two levels": DeepFeatureTransformer(LITE0, levels=[3, 7], batch_size=3),
    "tied": SpatialMahalanobisDetector(LEVELS),
    "local": SpatialMahalanobisDetector(LEVELS, gaussian="local", n_components=0.5),
    "global": SpatialMahalanobisDetector(LEVELS, gaussian="global", aggregate="top"),
    "subspace": SpatialSubspaceDetector(LEVELS, rotations=1),
    "neighbours": PatchNeighborsDetector(LEVELS, coreset=0.1),
}


@pytest.mark.parametrize("estimator", ESTIMATORS.values(), ids=ESTIMATORS)
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_image_contract(check, estimator, photographs, tmp_path):
    if check is check_feature_names and not hasattr(estimator, "transform"):
        pytest.skip("a detector has no columns")
    extra = {"tmp_path": tmp_path} if "tmp_path" in inspect.signature(check).parameters else {}
    check(clone(estimator), photographs, **extra)


def test_the_contract_is_not_empty():
    assert len(CHECKS) >= 10
