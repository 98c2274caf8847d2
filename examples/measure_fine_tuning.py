"""Does tuning help? Frozen and tuned, by objective, with and without early stopping; and what a step costs.

For each folder in the layout of MVTec AD below ``--root``, and each seed (another division into images to train on and
to examine on, another order): image AUROC of the frozen network, of the state that early stopping keeps, and of the
last epoch's, each by the objective's own score, and by a Gaussian that is fitted anew to the pooled features. Cells are
kept in ``--out``, and training is gone on from checkpoints beside it: the command may be killed at any time.

    python examples/measure_fine_tuning.py --root DIR --sets mvtec_ad/bottle mvtec_ad/pill --out tuning.csv

``--cost SET`` measures what an epoch costs beside a plain pass of forward and backward over the same images; ``--rate
SET`` what becomes of the false-positive rate if a threshold is set on images that the tuning has seen.
"""

import argparse
import time
import warnings
from pathlib import Path

import numpy as np
import pandas as pd
import torch
from sklearn.base import clone
from sklearn.frozen import FrozenEstimator
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import train_test_split

from skgad import DeepFeatureTransformer, FPRThresholdCV, MahalanobisDetector
from skgad.datasets import load_image_folder
from skgad.deep import FineTuner

OBJECTIVES = ("gaussian", "svdd", "fcdd")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--root", type=Path, required=True, help="folder with data sets in the MVTec AD layout")
    parser.add_argument("--sets", nargs="*", default=["mvtec_ad/bottle", "mvtec_ad/pill", "mvtec_ad/transistor"])
    parser.add_argument("--backbone", default="tf_efficientnet_lite0")
    parser.add_argument("--image-size", type=int)
    parser.add_argument("--epochs", type=int, default=250)
    parser.add_argument("--learning-rate", type=float, default=1e-6)
    parser.add_argument("--seeds", type=int, default=2)
    parser.add_argument("--objectives", nargs="*", default=OBJECTIVES)
    parser.add_argument("--out", type=Path, help="a CSV file; cells that are in it are not measured again")
    parser.add_argument("--cost", help="measure costs on this set instead")
    parser.add_argument("--rate", help="measure the rate on this set instead")
    options = parser.parse_args()
    extractor = DeepFeatureTransformer(options.backbone, image_size=options.image_size)
    if options.cost:
        print(measure_cost(extractor, options.root / options.cost).to_string(index=False, float_format="%.3g"))
        return
    if options.rate:
        print(measure_rate(extractor, options).to_string(index=False, float_format="%.3g"))
        return
    done = pd.read_csv(options.out) if options.out.exists() else pd.DataFrame(columns=["set", "objective", "seed"])
    for name in options.sets:
        for seed in range(options.seeds):
            for objective in options.objectives:
                place = (done["set"] == name) & (done["objective"] == objective) & (done["seed"] == seed)
                if not place.any():
                    rows = measure(extractor, options, name, objective, seed)
                    done = pd.concat([done, pd.DataFrame(rows)], ignore_index=True)
                    done.to_csv(options.out, index=False)
                    print(pd.DataFrame(rows).round(4).to_string(index=False), flush=True)
    report(done)


def measure(extractor, options, name, objective, seed):
    """Return a row for each state of one training: frozen, kept, last."""
    data = load_image_folder(options.root / name)
    train, test = [str(path) for path in data.X_train], [str(path) for path in data.X_test]
    path = options.out.with_name(f"{name.replace('/', '_')}_{objective}_{seed}.pt")
    tuner = FineTuner(
        extractor,
        objective=objective,
        learning_rate=options.learning_rate,
        max_epochs=options.epochs,
        random_state=seed,
        checkpoint=path,
    )
    begun = time.perf_counter()
    tuner.fit(train)
    seconds = time.perf_counter() - begun
    history = tuner.history_
    kept = int(history.loc[history["kept"], "epoch"].iloc[0])
    frozen = clone(tuner).set_params(max_epochs=0, checkpoint=None).fit(train)
    last = clone(tuner).set_params(max_epochs=0, checkpoint=None).fit(train)
    state = torch.load(path, map_location="cpu", weights_only=True)["model"]
    last.extractor_ = clone(extractor).set_params(weights=state).fit(train)
    rows = []
    for what, one, epoch in [("frozen", frozen, 0), ("kept", tuner, kept), ("last", last, len(history) - 1)]:
        joint = MahalanobisDetector(levels="joint").fit(one.transform(train))
        rows.append(
            {
                "set": name,
                "objective": objective,
                "seed": seed,
                "state": what,
                "epoch": epoch,
                "criterion": history["criterion"].iloc[epoch],
                "own score": roc_auc_score(data.y_test, one.score_samples(test)),
                "joint Gaussian": roc_auc_score(data.y_test, joint.score_samples(one.transform(test))),
                "seconds": seconds,
            }
        )
    path.unlink()
    return rows


def measure_cost(extractor, folder, n_images=40, rounds=3):
    """Return what an epoch of training costs, without and with examination, beside a plain pass; medians of ratios."""
    images = [str(path) for path in load_image_folder(folder).X_train][:n_images]
    ratios = []
    for _ in range(rounds):
        seconds = {"plain pass": time_plain_pass(extractor, images)}
        for what, validation in {"training": None, "with its examination": "vicinity"}.items():
            times = []
            for n_epochs in (1, 2):
                tuner = FineTuner(extractor, max_epochs=n_epochs, validation=validation, validation_fraction=1 / 5)
                begun = time.perf_counter()
                tuner.fit(images)
                times.append(time.perf_counter() - begun)
            share = 0.8 if validation else 1.0  # so many of the images are trained on
            seconds[what] = (times[1] - times[0]) / share
        ratios.append({what: value / seconds["plain pass"] for what, value in seconds.items()})
    table = pd.DataFrame(ratios)
    return pd.DataFrame({"what": table.columns, "times a plain pass, median": table.median().to_numpy()})


def time_plain_pass(extractor, images):
    """Return the seconds of one pass of forward and backward, in batches of 8, through the same levels."""
    from skgad.deep.training._objectives import GaussianObjective
    from skgad.deep.training._squares import Squares
    from skgad.deep.training._tuned_network import TunedNetwork

    extraction = clone(extractor).fit(images)._resolve()
    network = TunedNetwork(extraction.source, extraction.settings["levels"], torch.device("cpu"), "float32")
    squares = Squares(images, np.arange(len(images)), extraction.resize, extraction.settings["image_size"], 1)
    optimizer = torch.optim.Adam(network.model.parameters(), lr=1e-6)
    begun = time.perf_counter()
    with network.at_work():
        for _, part in squares.batches(np.arange(len(images)), 8):
            optimizer.zero_grad(set_to_none=True)
            sum(level.mean() for level in network(part, GaussianObjective([]).take)).backward()
            optimizer.step()
    return time.perf_counter() - begun


def measure_rate(extractor, options, fpr=0.05, n_splits=5):
    """Return false alarms at a target, the threshold set on images that were tuned on, and on others."""
    images = np.array([str(path) for path in load_image_folder(options.root / options.rate).X_train])
    rows = []
    for seed in range(n_splits):
        tuned_on, rest = train_test_split(images, test_size=0.5, random_state=seed)
        held_out, new = train_test_split(rest, test_size=0.5, random_state=seed)
        tuner = FineTuner(
            extractor,
            learning_rate=options.learning_rate,
            max_epochs=options.epochs,
            validation=None,
            random_state=seed,
        ).fit(list(tuned_on))
        seen, unseen, judged = (tuner.transform(list(part)).to_numpy() for part in (tuned_on, held_out, new))
        wrong = FPRThresholdCV(MahalanobisDetector(), fpr=fpr).fit(seen)  # without names, nobody can tell
        right = FPRThresholdCV(FrozenEstimator(MahalanobisDetector().fit(seen)), fpr=fpr).fit(unseen)
        frozen = clone(extractor).fit(list(tuned_on))
        usual = FPRThresholdCV(MahalanobisDetector(), fpr=fpr).fit(frozen.transform(list(tuned_on)).to_numpy())
        rows.append(
            {
                "set on images tuned on": (wrong.predict(judged) == -1).mean(),
                "set on others": (right.predict(judged) == -1).mean(),
                "frozen network": (usual.predict(frozen.transform(list(new)).to_numpy()) == -1).mean(),
            }
        )
    table = pd.DataFrame(rows)
    return pd.DataFrame({"threshold": table.columns, f"false alarms, target {fpr:.0%}": table.mean().to_numpy()})


def report(table):
    measures = ["own score", "joint Gaussian"]
    means = table.groupby(["objective", "state"], sort=False)[measures].mean()
    spread = table.groupby(["set", "objective", "state"])[measures].std().groupby(["objective", "state"]).mean()
    print(f"\nimage AUROC, %, mean over sets and seeds\n{(100 * means).round(1).to_string()}")
    print(f"\nstandard deviation over seeds, mean over sets\n{(100 * spread).round(2).to_string()}")
    by_set = table.pivot_table(index=["objective", "state"], columns="set", values="own score", sort=False)
    print(f"\nown score, by set\n{(100 * by_set).round(1).to_string()}")


if __name__ == "__main__":
    warnings.filterwarnings("ignore", message=".*fewer than.*")
    main()
