"""What every estimator that takes images must do, since scikit-learn's checks stop at 2-D arrays."""

import os
import pickle

import joblib
import numpy as np
import pandas as pd
import pytest
from PIL import Image
from sklearn.base import BaseEstimator, clone

from skgad.exceptions import ImageError


def output(estimator, images):
    return np.asarray(
        estimator.transform(images) if hasattr(estimator, "transform") else estimator.score_samples(images)
    )


def check_init_only_assigns(estimator, images):
    params = estimator.get_params(deep=False)
    assert vars(estimator) == params
    for name, value in params.items():
        copied = clone(estimator).get_params(deep=False)[name]
        assert copied == value or value is None or (isinstance(value, BaseEstimator) and repr(copied) == repr(value))


def check_fit_returns_self_and_keeps_params(estimator, images):
    before = estimator.get_params()
    assert estimator.fit(images) is estimator
    assert estimator.get_params() == before


def check_fit_is_idempotent(estimator, images):
    first = output(estimator.fit(images), images)
    np.testing.assert_array_equal(output(estimator.fit(images), images), first)


def check_images_are_not_written_to(estimator, images):
    before = images.copy()
    images.setflags(write=False)
    output(estimator.fit(images), images)
    np.testing.assert_array_equal(images, before)


def check_rows_are_independent(estimator, images):
    together = output(estimator.fit(images), images)
    order = np.arange(len(images))[::-1]
    np.testing.assert_allclose(output(estimator, images[order])[order], together, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(output(estimator, images[:1]), together[:1], rtol=1e-4, atol=1e-5)


def check_lists_equal_arrays(estimator, images):
    np.testing.assert_array_equal(output(estimator.fit(list(images)), list(images)), output(estimator, images))


def check_pickle_and_joblib_round_trips(estimator, images, tmp_path):
    expected = output(estimator.fit(images), images)
    np.testing.assert_array_equal(output(pickle.loads(pickle.dumps(estimator)), images), expected)
    joblib.dump(estimator, tmp_path / "estimator.joblib")
    np.testing.assert_array_equal(output(joblib.load(tmp_path / "estimator.joblib"), images), expected)


def check_hash_is_stable(estimator, images):
    output(estimator.fit(images), images)
    once = joblib.hash(estimator)
    output(estimator.fit(images), images)
    assert joblib.hash(estimator) == once


def check_feature_names(estimator, images):
    out = estimator.fit(images).transform(images)
    assert isinstance(out, pd.DataFrame)
    assert list(estimator.get_feature_names_out()) == list(out.columns)


def check_bad_images_are_refused(estimator, images, tmp_path):
    (tmp_path / "text.png").write_text("no image")
    Image.fromarray(images[0]).save(tmp_path / "whole.png")
    whole = (tmp_path / "whole.png").read_bytes()
    (tmp_path / "half.png").write_bytes(whole[: len(whole) // 2])
    whole_path = str(tmp_path / "whole.png")
    unordered = [{whole_path}, {whole_path: 1}, (path for path in [whole_path])]
    no_images = [images > 99, np.ma.masked_array(images), [whole_path, None], [whole_path, os.devnull], [b"whole.png"]]
    for bad in ([], [tmp_path / "missing.png"], images.astype(int), images[..., :2], images[0], *unordered, *no_images):
        with pytest.raises(ImageError):
            estimator.fit(bad)
    for bad in (np.full((3, 8, 8), np.nan), images * 1.0):
        with pytest.raises(ImageError, match="image 0 has"):
            output(estimator.fit(bad), bad)
    for name in ("text.png", "half.png"):
        with pytest.raises(ImageError, match=f"image 1, '.*{name}'"):
            output(estimator.fit(images), [tmp_path / "whole.png", tmp_path / name])


def check_labels_follow_the_rule(estimator, images):
    y = np.resize([1, -1], len(images))
    estimator.fit(images, y)
    with pytest.raises(ValueError, match="as_labels"):
        estimator.fit(images, y > 0)
    with pytest.raises(ValueError, match="labelled"):
        estimator.fit(images, np.full(len(images), -1))


CHECKS = [value for name, value in sorted(globals().items()) if name.startswith("check_")]
