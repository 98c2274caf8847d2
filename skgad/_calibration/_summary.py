"""What was calibrated, on what, and what can be said about the rate: the words of `FPRThresholdCV.summary`."""

import numpy as np


def summarise(detector, point, *, exact):
    """Return in plain language what a fitted `FPRThresholdCV` has found.

    Parameters
    ----------
    detector : FPRThresholdCV
        Fitted.
    point : WorkingPoint
        That of its fit.
    exact : bool
        Whether the law of the rate is exact.
    """
    if point.by_category is not None:
        return _summarise_categories(point, exact)
    n_images, n_groups = len(detector.out_of_fold_scores_), detector.n_groups_
    low, high = detector.fpr_interval_
    grouped = n_groups < n_images
    lines = [
        f"An image is called anomalous if its score is below {detector.offset_:.6g}.",
        f"Asked for: {point.share:.4g} of the normal images. Aimed at: {point.aim:.4g}. The smallest rate with "
        f"{n_groups} {'groups' if grouped else 'images'} is {1 / (n_groups + 1):.4g}.",
        f"The threshold rests on {n_images} normal images"
        + (f" in {n_groups} groups, each of which counts once" if grouped else "")
        + ", none of which was seen by the model that scored it.",
        f"In 95 of 100 such calibrations the rate lies between {low:.3g} and {high:.3g}. {_describe_law(exact)}",
    ]
    if not np.isnan(detector.inflation_):
        lines.append(
            f"Where images were not learnt, their mean squared distance is {detector.inflation_:.3g} times as large."
        )
    if point.drifts():
        lines.append(
            f"It may not hold: the models of the folds point to a rate of about {detector.drifted_fpr_:.2g}, with "
            "little certainty. Take more folds, or cv='loo'."
        )
    lines.append("All of it holds for images like these, not for parts, batches or cameras that are not among them.")
    return "\n".join(lines)


def _summarise_categories(point, exact):
    kinds = point.by_category
    lines = [f"Asked for: {point.share:.4g} of the normal images of each category, which has a threshold of its own."]
    for name, offset, n_groups, is_pooled in zip(
        kinds.names, kinds.offsets, kinds.n_groups, kinds.is_pooled, strict=True
    ):
        counted = f"{n_groups} {'images' if point.numbers is None else 'groups'}"
        rests = f"too few of its own ({counted}): judged by all, which keeps no rate for it" if is_pooled else counted
        lines.append(f"{name}: anomalous below {offset:.6g} ({rests}).")
    law = "at most as large, by theorem" if exact else "about as large"
    lines.append(f"The rate in a category with a threshold of its own is {law}, however often it comes.")
    lines.append("All of it holds for images like these, not for parts, batches or cameras that are not among them.")
    return "\n".join(lines)


def _describe_law(exact):
    if exact:
        return "This is exact for independent images whose scores do not tie."
    return "This is nominal: the law is exact only for split calibration, one image a group."
