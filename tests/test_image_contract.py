import inspect

import pytest

from skgad import DeepFeatureTransformer

from .conftest import LITE0
from .image_contract import CHECKS

ESTIMATORS = [DeepFeatureTransformer(LITE0, image_size=64), DeepFeatureTransformer(LITE0, levels=[3, 7], batch_size=3)]


@pytest.mark.parametrize("estimator", ESTIMATORS, ids=["all levels", "two levels"])
@pytest.mark.parametrize("check", CHECKS, ids=lambda check: check.__name__)
def test_image_contract(check, estimator, photographs, tmp_path):
    from sklearn.base import clone

    extra = {"tmp_path": tmp_path} if "tmp_path" in inspect.signature(check).parameters else {}
    check(clone(estimator), photographs, **extra)


def test_the_contract_is_not_empty():
    assert len(CHECKS) >= 10
