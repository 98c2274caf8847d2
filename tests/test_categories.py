"""Each category keeps the rate by its own calibration images; the mixture's threshold does not."""

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy import stats

from skgad._calibration._categories import CategoryThresholds, read_categories
from skgad._calibration._conformal import p_value_steps, read_p_values, threshold


def draw(seed=0, sizes=(("brass", 40), ("steel", 80), ("zinc", 25)), ties=False):
    """Scores of three materials, at different places and of different spread, in random order."""
    rng = np.random.default_rng(seed)
    categories = rng.permutation(np.repeat([name for name, _ in sizes], [size for _, size in sizes]))
    place = {name: at for at, (name, _) in enumerate(sizes)}
    at = np.array([place[name] for name in categories])
    scores = 3.0 * at + (1 + at) * rng.normal(size=len(at))
    return (np.round(scores) if ties else scores), categories


def naive_p_value(score, others):
    return (1 + (others <= score).sum()) / (len(others) + 1)


@pytest.mark.parametrize("ties", [False, True])
def test_p_values_count_the_images_of_their_own_category(ties):
    scores, categories = draw(ties=ties)
    new, kinds = draw(seed=1, ties=ties)
    calibrated = CategoryThresholds(scores, categories, 0.1)
    expected = [naive_p_value(score, scores[categories == kind]) for score, kind in zip(new, kinds, strict=True)]
    np.testing.assert_array_equal(calibrated.p_values(new, kinds), expected)


@pytest.mark.parametrize("ties", [False, True])
@pytest.mark.parametrize("pooled", [False, True])
def test_a_score_lies_below_its_threshold_just_where_its_p_value_is_at_most_the_rate(ties, pooled):
    scores, categories = draw(ties=ties)
    new, kinds = draw(seed=1, sizes=[("brass", 50), ("steel", 50), ("zinc", 50), ("lead" if pooled else "brass", 50)])
    calibrated = CategoryThresholds(scores, categories, 0.05, pooled=pooled)
    called = new < calibrated.thresholds(kinds, len(new))
    np.testing.assert_array_equal(called, calibrated.p_values(new, kinds) <= 0.05)
    assert called.any()


def test_one_category_is_the_plain_calibration():
    scores, _ = draw()
    steps = p_value_steps(scores)
    for category in ("part", 7):
        calibrated = CategoryThresholds(scores, [category] * len(scores), 0.1)
        assert calibrated.offsets.tolist() == [threshold(0.1, *steps)]
        new = np.linspace(-5, 15, 50)
        np.testing.assert_array_equal(calibrated.p_values(new, [category] * 50), read_p_values(new, *steps))


def test_the_rate_holds_in_each_category_and_not_in_the_mixture_alone():
    sizes, n_draws = {"brass": 39, "steel": 79, "zinc": 19}, 1500
    alarms, mixed = np.zeros((2, 3), dtype=int)
    for seed in range(n_draws):
        scores, categories = draw(seed, sizes.items())
        new, kinds = draw(seed + n_draws, [(name, 1) for name in sizes])
        new, kinds = new[np.argsort(kinds)], np.sort(kinds)
        alarms += new < CategoryThresholds(scores, categories, 0.1).thresholds(kinds, 3)
        mixed += new < threshold(0.1, *p_value_steps(scores))
    for count, size in zip(alarms, sizes.values(), strict=True):
        rate = (size + 1) // 10 / (size + 1)  # exact, since the scores do not tie
        assert stats.binomtest(int(count), n_draws, rate).pvalue > 0.003
    assert stats.binomtest(int(mixed[0]), n_draws, 0.1, alternative="greater").pvalue < 1e-6
    assert stats.binomtest(int(mixed[2]), n_draws, 0.1, alternative="less").pvalue < 1e-6


def test_the_rate_of_a_category_does_not_depend_on_how_often_the_others_come():
    scores, categories = draw()
    few = CategoryThresholds(scores, categories, 0.1)
    more = CategoryThresholds(np.r_[scores, np.full(500, -50.0)], np.r_[categories, ["steel"] * 500], 0.1)
    np.testing.assert_array_equal(few.offsets[[0, 2]], more.offsets[[0, 2]])
    assert more.offsets[1] < few.offsets[1]


def test_with_groups_each_counts_once_in_each_of_its_categories():
    scores, categories = draw()
    groups = np.random.default_rng(0).integers(0, 60, len(scores))
    calibrated = CategoryThresholds(scores, categories, 0.1, groups=groups)
    new = np.linspace(-5, 15, 40)
    for name, n_groups in zip(calibrated.names, calibrated.n_groups, strict=True):
        mine = pd.DataFrame({"score": scores, "group": groups})[categories == name]
        assert n_groups == mine["group"].nunique()
        shares = [mine["score"].le(one).groupby(mine["group"]).mean().sum() for one in new]
        np.testing.assert_allclose(calibrated.p_values(new, [name] * 40), (1 + np.array(shares)) / (1 + n_groups))


def test_small_categories_are_refused_with_their_names_and_what_they_need():
    scores, categories = draw(sizes=[("brass", 8), ("steel", 80), ("zinc", 3)])
    with pytest.raises(
        ValueError, match=r"fpr=0.1 .* each: 'brass' \(8\), 'zinc' \(3\)\..* at least 9 of each.*small_categories"
    ):
        CategoryThresholds(scores, categories, 0.1)
    CategoryThresholds(*draw(sizes=[("brass", 9), ("steel", 80), ("zinc", 9)]), 0.1)


def test_categories_of_few_groups_are_small():
    scores, categories = draw()
    groups = np.where(categories == "zinc", 0, np.arange(len(scores)))
    with pytest.raises(ValueError, match=r"each: 'zinc' \(1\)\."):
        CategoryThresholds(scores, categories, 0.1, groups=groups)


def test_an_unseen_category_is_refused_by_name():
    calibrated = CategoryThresholds(*draw(), 0.1)
    message = (
        r"categories\[1\] is 'lead': .* of 'lead', 'gold', only of 'brass', 'steel', 'zinc'\..*small_categories='pool'"
    )
    kinds = ["zinc", "lead", "gold", "lead"]
    with pytest.raises(ValueError, match=message):
        calibrated.p_values(np.zeros(4), kinds)
    with pytest.raises(ValueError, match=message):
        calibrated.thresholds(kinds, 4)
    numbered = CategoryThresholds(np.arange(10.0), [1] * 10, 0.1)
    with pytest.raises(ValueError, match=r"categories\[0\] is '1': .* only of 1\."):
        numbered.thresholds(["1"], 1)


def test_on_request_small_and_unseen_categories_are_judged_by_all_images():
    scores, categories = draw(sizes=[("brass", 8), ("steel", 80), ("zinc", 3)])
    calibrated = CategoryThresholds(scores, categories, 0.1, pooled=True)
    assert calibrated.names == ["brass", "steel", "zinc"]
    assert calibrated.is_pooled.tolist() == [True, False, True]
    new = np.linspace(-5, 15, 40)
    for name in ("brass", "zinc", "lead"):
        np.testing.assert_array_equal(
            calibrated.p_values(new, [name] * 40), [naive_p_value(one, scores) for one in new]
        )
        assert calibrated.thresholds([name], 1)[0] == threshold(0.1, *p_value_steps(scores))
    alone = scores[categories == "steel"]
    np.testing.assert_array_equal(calibrated.p_values(new, ["steel"] * 40), [naive_p_value(one, alone) for one in new])
    with pytest.raises(ValueError, match=r"91 normal images.*together: give at least 99"):
        CategoryThresholds(scores, categories, 0.01, pooled=True)


def test_pooled_changes_nothing_where_all_categories_are_large_enough():
    new, kinds = draw(seed=1)
    one, other = (CategoryThresholds(*draw(), 0.1, pooled=pooled) for pooled in (False, True))
    assert one.offsets.tolist() == other.offsets.tolist()
    np.testing.assert_array_equal(one.p_values(new, kinds), other.p_values(new, kinds))


FORMS = [
    list,
    tuple,
    np.array,
    lambda c: np.array(c, dtype=object),
    pd.Series,
    lambda c: pd.Series(c, index=range(10, 10 + len(c))),
    pd.Categorical,
    lambda c: pd.Series(c, dtype="category"),
    lambda c: pd.Series(c).convert_dtypes(),
    pl.Series,
    np.ma.masked_array,
]


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("categories", [["b", "a", "b"], [2, 1, 2], [-1, 1, 1]])
def test_categories_of_every_form_are_read_alike(form, categories):
    read = read_categories(form(categories), 3)
    assert read.tolist() == categories
    assert {type(value) for value in read} == {type(categories[0])}


@pytest.mark.parametrize(
    "categories",
    [
        ["a", None, "b"],
        ["a", np.nan, "b"],
        pd.Series(["a", None, "b"], dtype="string"),
        pd.Series(["a", None, "b"], dtype="category"),
        pd.Series([1, None, 2], dtype="Int64"),
        pl.Series(["a", None, "b"]),
        np.ma.masked_array(["a", "b", "b"], mask=[False, True, False]),
        np.ma.masked_array([1, 2, 2], mask=[False, True, False]),
        [1, pd.NaT, 2],
    ],
)
def test_a_missing_category_is_refused_with_its_row(categories):
    with pytest.raises(ValueError, match="missing value at image 1; give it a category"):
        read_categories(categories, 3)
    assert len(read_categories(categories, 3, rows=np.array([0, 2]))) == 2


@pytest.mark.parametrize(
    ("categories", "message"),
    [
        (["a", 1], r"categories\[0\] is 'a', categories\[1\] 1"),
        ([1, "a"], r"categories\[1\] is 'a', categories\[0\] 1"),
        ([1.0, 2.0], r"categories\[0\] is 1.0 \(float\).*str"),
        (np.array([1.0, 2.0]), r"categories\[0\] is 1.0 \(float\)"),
        ([True, False], r"categories\[0\] is True \(bool\)"),
        (np.array([True, False]), r"categories\[0\] is True \(bool\)"),
        (["a", b"a"], r"categories\[1\] is b'a' \(bytes\)"),
        (["a", ("b",)], r"categories\[1\] is \('b',\) \(tuple\)"),
        ("ab", r"shape \(2,\); got str of shape \(\)"),
        ({"a", "b"}, r"got set of shape \(\)"),
        ([["a", "b"]], r"got list of shape \(1, 2\)"),
        (["a"], r"got list of shape \(1,\)"),
        (None, r"got NoneType of shape \(\)"),
    ],
)
def test_what_names_no_category_is_refused(categories, message):
    with pytest.raises(ValueError, match=message):
        read_categories(categories, 2)


def test_the_row_that_is_named_is_the_callers():
    with pytest.raises(ValueError, match=r"categories\[3\] is 2.5"):
        read_categories(["a", "b", "a", 2.5], 4, rows=np.array([0, 3]))
    with pytest.raises(ValueError, match=r"categories\[1\] is 'b', categories\[3\] 2"):
        read_categories([None, "b", "a", 2], 4, rows=np.array([1, 3]))


def test_many_names_are_cut_short():
    with pytest.raises(ValueError, match=r"'part 0' \(1\), .* and 20 more\."):
        CategoryThresholds(np.arange(30.0), [f"part {i}" for i in range(30)], 0.1)
