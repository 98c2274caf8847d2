"""The figures of docs/monitoring.md: false alarms, delays, and whether the words point the right way.

Run with ``python examples/measure_monitoring.py --section guarantee`` (four minutes on two CPU cores), ``delays`` or
``causes`` (each some minutes, and more once, to compute the features, which are kept); needs the extra
``demo``, and crepes.
``--sets DIR/mvtec_ad/bottle ...`` adds folders in the MVTec layout to ``causes``.
"""

import argparse
import copy
import time

import numpy as np
from crepes import martingales
from joblib import Parallel, delayed
from PIL import Image, ImageFilter
from scipy import stats
from sklearn.pipeline import Pipeline

from skgad import DeepFeatureTransformer, FPRThresholdCV, MahalanobisDetector
from skgad.datasets import load_elpv, load_image_folder
from skgad.monitoring import ConformalTestMartingale, LineMonitor

FPR, BATCH, ALIKE = 0.05, 50, 0.15


# False alarms


def simulate(seed, n_calibration, n_new, mode, defects, options):
    """Return the number of the image of a false alarm, or NaN."""
    rng = np.random.default_rng(seed)
    if mode == "split":
        calibration, new = rng.standard_t(4, size=n_calibration), rng.standard_t(4, size=n_new)
    else:  # leave-one-out scores of a Gaussian, and scores of new rows by the one of all
        rows = rng.normal(size=(n_calibration + n_new, 60)) * np.logspace(0, -2, 60)
        detector = MahalanobisDetector().fit(rows[:n_calibration])
        calibration = detector.leave_one_out_scores(rows[:n_calibration])
        new = detector.score_samples(rows[n_calibration:])
    new[rng.random(n_new) < defects] -= 1000
    martingale = ConformalTestMartingale(random_state=seed, **options).fit(calibration)
    alarm = martingale.observe(new).alarm_at_
    return np.nan if alarm is None else alarm


def simulate_fixed(seed, n_calibration, n_new):
    """The same where new scores are ranked among the calibration's alone."""
    rng = np.random.default_rng(seed)
    calibration, new = np.sort(rng.standard_t(4, size=n_calibration)), rng.standard_t(4, size=n_new)
    p_values = (np.searchsorted(calibration, new) + rng.random(n_new)) / (n_calibration + 1)
    martingale = ConformalTestMartingale(random_state=seed).fit(calibration)
    return martingale._bet(p_values).max() >= martingale.log_threshold_


WATCHERS = ("alpha=0.01", "run_length=1000", "crepes, SimpleJumper", "crepes, SleeperStayer")


def find_shift(seed, n_before):
    """Return by whom a shift is found how soon, all on the same p-values; 2,000 images come after it."""
    rng = np.random.default_rng(seed)
    scores = np.concatenate([rng.normal(size=n_before), rng.normal(size=2000) - 1])
    calibration, found = rng.normal(size=300), []
    for options in ({}, {"run_length": 1000}):
        martingale = ConformalTestMartingale(random_state=seed, **options).fit(calibration)
        values = martingale.observe(scores).log_values_[n_before:]  # with a run length false alarms come before
        found.append(np.argmax(np.append(values, np.inf) >= martingale.log_threshold_))
    for name in ("SimpleJumper", "SleeperStayer"):
        values = getattr(martingales, name)().apply(martingale.p_values_)[n_before:]
        found.append(np.argmax(np.append(values, np.inf) >= 100))
    return found


def report_guarantee():
    with Parallel(n_jobs=2) as pool:
        print("1,000 streams of 2,000 images that do not change; alpha = 0.01 unless said")
        for title, n, mode, defects, options in [
            ("split calibration, n = 200", 200, "split", 0, {}),
            ("split calibration, n = 200, alpha = 0.1", 200, "split", 0, {"alpha": 0.1}),
            ("leave-one-out, n = 200, 60 features", 200, "loo", 0, {}),
            ("leave-one-out, n = 200, alpha = 0.1", 200, "loo", 0, {"alpha": 0.1}),
            ("split, 2 % of defects, alpha = 0.1", 200, "split", 0.02, {"alpha": 0.1}),
            ("split, 5 % of defects, alpha = 0.1", 200, "split", 0.05, {"alpha": 0.1}),
            ("split, 5 %, defect_share=0.05, alpha = 0.1", 200, "split", 0.05, {"alpha": 0.1, "defect_share": 0.05}),
            ("split, 2 %, defect_share=0, alpha = 0.1", 200, "split", 0.02, {"alpha": 0.1, "defect_share": 0}),
        ]:
            jobs = (delayed(simulate)(seed, n, 2000, mode, defects, options) for seed in range(1000))
            alarms = np.isfinite(pool(jobs))
            print(f"  {title:42s} false alarms {100 * alarms.mean():5.1f} %", flush=True)
        fixed = np.mean(pool(delayed(simulate_fixed)(seed, 200, 2000) for seed in range(1000)))
        print(f"  {'ranked among the calibration alone, n = 200':42s} false alarms {100 * fixed:5.1f} %")
        jobs = (delayed(simulate)(seed, 200, 4000, "split", 0, {"run_length": 1000}) for seed in range(200))
        ends = np.nan_to_num(pool(jobs), nan=4000)
        print(f"  run_length=1000: the mean of 200 run lengths, cut at 4,000 images, is {ends.mean():.0f}")
        print("  images to the alarm after a shift by one standard deviation, median of 20 streams, n = 300")
        for n_before in (150, 2000, 20_000):
            delays = np.array(pool(delayed(find_shift)(seed, n_before) for seed in range(20)))
            medians = "   ".join(f"{name} {np.median(part):.0f}" for name, part in zip(WATCHERS, delays.T, strict=True))
            print(f"    after {n_before} images: {medians}", flush=True)
        for name, test in RIVALS.items():
            jobs = (delayed(simulate_rival)(test, seed, 200, 2000) for seed in range(200))
            print(f"  {name:42s} false alarms {100 * np.mean(pool(jobs)):5.1f} % (200 streams)")


# What others do: batches of so many images


def control_chart(calibration, new):
    """Return whether the rate of alarms of a batch lies above three sigma, as on a p-chart."""
    rate = np.mean(new < np.sort(calibration)[int((len(calibration) + 1) * FPR) - 1])
    return rate > FPR + 3 * np.sqrt(FPR * (1 - FPR) / len(new))


def kolmogorov_smirnov(calibration, new):
    """Return whether the two-sample test refuses a batch at the level of three sigma."""
    return stats.ks_2samp(calibration, new).pvalue < 0.0027


def population_stability(calibration, new):
    """Return whether the population stability index of a batch, over deciles, exceeds 0.25."""
    edges = np.quantile(calibration, np.arange(0.1, 1, 0.1))
    old, now = (np.bincount(np.searchsorted(edges, one), minlength=10) / len(one) for one in (calibration, new))
    old, now = (np.maximum(one, 1e-4) for one in (old, now))
    return np.sum((now - old) * np.log(now / old)) > 0.25


def by_crepes(name):
    """Return the same for a martingale of crepes, at 1/alpha, on p-values by the same ranks."""

    def find(calibration, scores, seed):
        p_values = martingales.semi_online_p_values(-np.concatenate([calibration, scores]), seed=seed)
        at = getattr(martingales, name)().apply(p_values[len(calibration) :], c=100)
        return at if at < len(scores) else np.nan

    return find


RIVALS = {
    "p-chart of the alarm rate": control_chart,
    "Kolmogorov-Smirnov test": kolmogorov_smirnov,
    "population stability index": population_stability,
}


CREPES = {"crepes, SimpleJumper": "SimpleJumper", "crepes, SleeperStayer": "SleeperStayer"}


def first_alarm(test, calibration, new):
    """Return the number of the image at which a batch raises an alarm, None for none."""
    for end in range(BATCH, len(new) + 1, BATCH):
        if test(calibration, new[end - BATCH : end]):
            return end - 1
    return None


def simulate_rival(test, seed, n_calibration, n_new):
    rng = np.random.default_rng(seed)
    return first_alarm(test, rng.standard_t(4, size=n_calibration), rng.standard_t(4, size=n_new)) is not None


# Real images, altered


def brighten(share):
    return lambda image: np.clip(np.rint(image * (1 + share)), 0, 255).astype(np.uint8)


def defocus(image):
    return np.asarray(Image.fromarray(image).filter(ImageFilter.GaussianBlur(1)))


def shift(image):
    return np.roll(np.pad(image, ((0, 0), (3, 3), (0, 0)), mode="edge"), 3, axis=1)[:, 3:-3]


def light_from_the_left(image):
    ramp = np.linspace(1.08, 0.92, image.shape[1])[np.newaxis, :, np.newaxis]
    return np.clip(np.rint(image * ramp), 0, 255).astype(np.uint8)


CHANGES = {
    "5 % brighter": (brighten(0.05), {"brighter"}),
    "20 % brighter": (brighten(0.2), {"brighter"}),
    "5 % darker": (brighten(-0.05), {"darker"}),
    "1 px out of focus": (defocus, {"out of focus"}),
    "shifted by 3 px": (shift, {"moved to the right"}),
    "lit from the left": (light_from_the_left, {"light from the left"}),
}


def read(path):
    return np.asarray(Image.open(path).convert("RGB"))


def report_delays():
    extractor = DeepFeatureTransformer("tf_efficientnet_lite0", grid=(1, 2), cache=True)
    for kind in ("mono", "poly"):
        paths, y = load_elpv(kind)
        paths = [path for path, label in zip(paths, y, strict=True) if label == 1]
        plain = extractor.fit_transform(paths)
        pictures = [read(path) for path in paths]
        altered = {"no change, in file order": plain, "no change": plain}
        for name, (change, _) in CHANGES.items():
            altered[name] = extractor.transform([change(one) for one in pictures])
        print(f"ELPV {kind}: images from the change to the alarm, median of ten splits (found in); false alarms before")
        for name, features in altered.items():
            delays = {key: [] for key in ("alpha=0.01", "run_length=1000", *CREPES, *RIVALS)}
            for split in range(10):
                order = np.random.default_rng(split).permutation(len(paths))
                train, new = order[: len(paths) // 2], order[len(paths) // 2 :]
                before, after = np.array_split(np.sort(new) if "order" in name else new, 2)
                detector = FPRThresholdCV(MahalanobisDetector(levels="joint"), fpr=FPR).fit(plain.iloc[train])
                scores = np.concatenate(
                    [detector.score_samples(plain.iloc[before]), detector.score_samples(features.iloc[after])]
                )
                for key, values in delays.items():
                    values.append(find_alarm(key, detector.out_of_fold_scores_, scores, split) - len(before))
            print(f"  {name}")
            for key, values in delays.items():
                values = np.array(values)
                found, early = values[values >= 0], int(np.sum(values < 0))
                median = f"{np.median(found) + 1:4.0f} ({len(found):2d})" if len(found) else "   - ( 0)"
                print(f"    {key:28s} {median}   false alarms {early}", flush=True)


def find_alarm(key, calibration, scores, seed):
    """Return the number of the image of the alarm, NaN for none; batches begin with the change, in the middle."""
    if key in RIVALS:
        begin = (len(scores) + 1) // 2 % BATCH
        alarm = first_alarm(RIVALS[key], calibration, scores[begin:])
        return np.nan if alarm is None else alarm + begin
    if key in CREPES:
        return by_crepes(CREPES[key])(calibration, scores, seed)
    options = {"run_length": 1000} if key.startswith("run_length") else {}
    alarm = ConformalTestMartingale(random_state=seed, **options).fit(calibration).observe(scores).alarm_at_
    return np.nan if alarm is None else alarm


def report_causes(sets):
    extractor = DeepFeatureTransformer("tf_efficientnet_lite0", grid=(1, 2), cache=True)
    data = {}
    for kind in ("mono", "poly"):
        paths, y = load_elpv(kind)
        data[f"ELPV {kind}"] = [path for path, label in zip(paths, y, strict=True) if label == 1]
    for folder in sets:
        data[folder.rstrip("/").rsplit("/", 1)[-1]] = list(load_image_folder(folder).X_train)
    right, total = 0, 0
    for name, paths in data.items():
        features = extractor.fit_transform(paths)
        changes = {"none": lambda image: image} | {change: function for change, (function, _) in CHANGES.items()}
        said = {change: [] for change in changes}
        for split in range(2):
            order = np.random.default_rng(split).permutation(len(paths))
            train, new = order[: len(paths) * 6 // 10], order[len(paths) * 6 // 10 :][:48]
            line = Pipeline(
                [("extractor", extractor), ("detector", FPRThresholdCV(MahalanobisDetector(levels="joint"), fpr=FPR))]
            )
            line[-1].fit(features.iloc[train])
            monitor = LineMonitor(line, random_state=split)
            for change, function in changes.items():
                pictures = [function(read(paths[at])) for at in new]
                watching = copy.deepcopy(monitor).observe(pictures)
                table = watching.compare_alterations(pictures, since=0)
                said[change].append((table["alteration"][0], round(float(table["cosine"][0]), 2)))
        for change, first in said.items():
            hits = (
                sum(one in CHANGES[change][1] and cosine >= 0.15 for one, cosine in first)
                if change != "none"
                else sum(cosine < 0.15 for _, cosine in first)
            )
            right, total = right + hits, total + 2
            print(f"{name:12s} {change:18s} right in {hits} of 2: {first}", flush=True)
    print(f"right in {right} of {total}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--section", choices=("guarantee", "delays", "causes"), required=True)
    parser.add_argument("--sets", nargs="*", default=[])
    arguments = parser.parse_args()
    start = time.monotonic()
    if arguments.section == "guarantee":
        report_guarantee()
    elif arguments.section == "delays":
        report_delays()
    else:
        report_causes(arguments.sets)
    print(f"{time.monotonic() - start:.0f} s")


if __name__ == "__main__":
    main()
