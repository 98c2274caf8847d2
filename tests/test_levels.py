import numpy as np
import pandas as pd
import polars
import pytest

from skgad._conventions._levels import feature_names, frame, frame_like, group_columns, join


def test_columns_are_grouped_by_level_in_order_of_appearance():
    names = ["level7__0000", "level7__0001", "level10__0000"]
    assert group_columns(names, 3) == {"level7": slice(0, 2), "level10": slice(2, 3)}


def test_scattered_columns_of_a_level_are_found():
    groups = group_columns(["level1__a", "level2__a", "level1__b"], 3)
    np.testing.assert_array_equal(groups["level1"], [0, 2])


@pytest.mark.parametrize("name", ["left__level7__0000", "left__right__level7__npca4"])
def test_prefixes_of_a_column_transformer_make_levels_of_their_own(name):
    prefix = name.rsplit("__", 1)[0]
    assert list(group_columns([name, "level7__0000"], 2)) == [prefix, "level7"]


@pytest.mark.parametrize("names", [None, ["a", "b"], ["level", "level7"], ["0", "1"]])
def test_columns_without_levels_are_one_group(names):
    assert group_columns(names, 2) == {"": slice(0, 2)}


def test_mixed_columns_are_refused_by_name():
    with pytest.raises(ValueError, match=r"'age' lack the form 'level7__…'"):
        group_columns(["level7__0000", "age"], 2)


def test_names_sort_like_numbers():
    names = feature_names(7, 1792)
    assert names == sorted(names)
    assert names[13] == "level7__0013"
    assert join("level7", "npca4") == "level7__npca4"
    assert join("", "npca4") == "npca4"


def test_container_in_container_out():
    values, names = np.eye(2), ["a", "b"]
    X = pd.DataFrame(values, index=[5, 9])
    assert frame_like(values, names, X).index.tolist() == [5, 9]
    assert isinstance(frame_like(values, names, polars.DataFrame(values)), polars.DataFrame)
    assert frame_like(values, names, values) is values
    assert frame_like(values, names, [[1, 0]]) is values


def test_frame_takes_the_index_of_a_series():
    assert frame(np.eye(2), ["a", "b"], like=pd.Series(["x.png", "y.png"], index=[3, 4])).index.tolist() == [3, 4]
