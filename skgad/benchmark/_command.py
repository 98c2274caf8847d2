"""The command line: which tables, of which images, with which networks."""

import argparse
import sys
import tempfile
from pathlib import Path

from ..exceptions import SkgadError
from ._baselines import STANDARD, check_detectors
from ._comparison import BACKBONES, build_comparison, lay_out_costs
from ._data import MVTEC_AD, find_gaps, load_mvtec, load_packaged
from ._findings import build_findings
from ._protocol import AUGMENTED, COMPRESSIONS, GAUSSIANS, evaluate
from ._report import write_costs, write_settings, write_table
from ._shift import run_shift
from ._tables import LAYOUTS, build_table, without_augmentation
from ._tuning_tables import BACKBONE, TUNING_TABLES, run_tuning

_LARGEST_SEED = 2**32 - 1  # that scikit-learn takes
_ORDER = ("1", "2", "3", "4", "7", "compare", "findings")


def main(arguments=None):
    """Run the command; return 0, or 2 where it was asked for what is not there."""
    parser = _make_parser()
    options = parser.parse_args(arguments)
    try:
        _check_out(options.out)
        if options.command == "tuning":
            _run_tuning(options)
            return 0
        if options.command == "shift":
            _run_shift(options)
            return 0
        run_tables(
            options.table,
            categories=_load_categories(options),
            backbones=options.backbone,
            out=options.out,
            detectors=options.detectors,
            n_folds=options.folds,
            n_passes=options.passes,
            n_jobs=options.jobs,
            cache=True if options.cache is None else options.cache,
            random_state=options.random_state,
            verbose=0 if options.quiet else 1,
        )
    except (SkgadError, ValueError, TypeError, OSError, ImportError) as error:
        parser.exit(2, f"{parser.prog}: {error}\n")
    return 0


def _run_shift(options):
    run_shift(
        categories=_load_categories(options),
        out=options.out,
        backbone=options.backbone,
        copies=tuple(options.copies),
        cache=True if options.cache is None else options.cache,
        verbose=0 if options.quiet else 1,
    )
    if not options.quiet:
        sys.stdout.write("\n" + (options.out / "shift.md").read_text(encoding="utf-8"))


def _run_tuning(options):
    tables = run_tuning(
        options.table,
        categories=_load_categories(options),
        out=options.out,
        backbone=options.backbone,
        image_size=options.image_size,
        n_folds=options.folds,
        max_epochs=options.epochs,
        learning_rate=options.learning_rate,
        verbose=0 if options.quiet else 1,
    )
    if not options.quiet:
        for name in tables:
            sys.stdout.write("\n" + (options.out / f"tuning{name}.md").read_text(encoding="utf-8"))


def _check_out(out):
    """Make the folder of the results, or raise ValueError if it cannot be written, before hours are spent."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=out):
            pass
    except OSError as error:
        raise ValueError(f"--out {out} cannot be written: {error.strerror}. Give another folder.") from error


def run_tables(
    which,
    *,
    categories,
    out,
    backbones=None,
    detectors=(),
    n_folds=5,
    n_passes=100,
    n_jobs=1,
    cache=True,
    weights="auto",
    random_state=0,
    verbose=0,
):
    """Compute tables and write them to a folder; what an earlier run has finished there is not computed again.

    Parameters
    ----------
    which : {"1", "2", "3", "4", "7", "compare", "findings", "all"} or list of these
        "findings" holds the paper's claims against the cells of Tables I and III.
    categories : list of Category
        `load_mvtec` and `load_packaged` make them.
    out : path
    backbones : list of str, default=None
        In place of each table's own.
    detectors : list of str, default=()
        Further ones for "compare": see `make_detector`.
    n_folds : int, default=5
    n_passes : int, default=100
        Of augmentation, in Table IV and "compare"; 0 for none.
    n_jobs : int, default=1
    cache : True or path, default=True
        Of the extractor.
    weights : optional
        Of the extractor.
    random_state : int, default=0
    verbose : int, default=0
        1 shows progress, the tables and their costs.

    Returns
    -------
    list of Table

    Raises
    ------
    ValueError
        If a name is unknown.
    WeightsError, BackboneError
        If a network cannot be had.

    Examples
    --------
    >>> import tempfile
    >>> import numpy as np
    >>> from skgad.benchmark import Category, run_tables
    >>> images = np.random.default_rng(0).integers(0, 256, size=(14, 32, 32, 3), dtype=np.uint8)
    >>> noise = Category("noise", images[:10], images[10:], np.array([1, 1, -1, -1]))
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     tables = run_tables(
    ...         "1",
    ...         categories=[noise],
    ...         backbones=["tf_efficientnet_lite0"],
    ...         out=folder,
    ...         cache=folder,
    ...         n_folds=2,
    ...     )
    >>> len(tables)
    1
    """
    check_detectors(detectors)
    names = _list_tables(which, backbones)
    plan = _make_plan(names, backbones, detectors, n_passes)
    run = evaluate(
        categories,
        plan,
        out=out,
        n_folds=n_folds,
        n_passes=n_passes,
        n_jobs=n_jobs,
        cache=cache,
        weights=weights,
        random_state=random_state,
        verbose=verbose,
    )
    resolved = dict(zip(plan, run.settings, strict=True))
    tables = []
    for name in names:
        own = [resolved[backbone] for backbone in _find_backbones(name, backbones)]
        tables.append(_build(name, run.cells, own, categories, detectors, n_passes))
    for table in tables:
        write_table(out, table, _make_notes(categories, n_folds, n_passes))
    arguments = {"tables": names, "plan": plan, "folds": n_folds, "passes": n_passes, "random_state": random_state}
    write_settings(out, run, categories, {**arguments, "detectors": list(detectors)})
    rankings = [lay_out_costs(table, run) for table in tables if table.name == "compare"]
    costs = write_costs(out, run, "\n".join(rankings))
    if verbose:
        _show(tables, costs)
    return tables


def _build(name, cells, backbones, categories, detectors, n_passes):
    """Return a table by its name on the command line."""
    cells = [cell for cell in cells if cell.backbone in backbones]
    if name == "findings":
        return build_findings(cells)
    complete = _are_complete(categories)
    if name == "compare":
        originals = {one.name for one in categories if one.is_original}
        return build_comparison(cells, detectors, complete=complete, originals=originals)
    return build_table(_find_layout(name, n_passes), cells, backbones, complete=complete)


def _are_complete(categories):
    """Return whether these are the fifteen of MVTec AD."""
    return {one.name for one in categories if one.is_original} == set(MVTEC_AD) and len(categories) == len(MVTEC_AD)


def _make_parser():
    parser = argparse.ArgumentParser(
        prog="python -m skgad.benchmark",
        description="The tables of Rippel, Mertens and Merhof (ICPR 2020), on MVTec AD or images like it.",
    )
    commands = parser.add_subparsers(dest="command", required=True)
    table = commands.add_parser("table", help="tables of the paper")
    table.add_argument("table", choices=["1", "2", "3", "4", "7", "all", "compare", "findings"])
    compare = commands.add_parser("compare", help="the same as 'table compare'")
    compare.set_defaults(table="compare")
    shift = commands.add_parser("shift", help="detection and rate when photographs change, and parts do not")
    _add_images(shift)
    shift.add_argument("--backbone", default="tf_efficientnet_lite2", help="a timm name")
    shift.add_argument(
        "--copies", type=_whole_number(0), nargs="+", default=[0, 2], help="in other light, learnt beside each image"
    )
    shift.add_argument("--cache", help="folder for features; the user's cache folder by default")
    tuning = commands.add_parser("tuning", help="tables of the second paper, on tuned networks")
    tuning.add_argument("table", choices=[*TUNING_TABLES, "all"])
    _add_images(tuning)
    tuning.add_argument("--backbone", default=BACKBONE, help="a timm name, in place of the paper's")
    tuning.add_argument("--image-size", type=_whole_number(1), help="side in pixels; the network's own by default")
    tuning.add_argument("--epochs", type=_whole_number(0), default=250, help="at most; 250, as in the paper")
    tuning.add_argument("--learning-rate", type=float, default=1e-6, help="1e-6, as in the paper")
    for one in (table, compare):
        _add_images(one)
        one.add_argument("--backbone", nargs="+", help="timm names, in place of the paper's")
        one.add_argument(
            "--passes", type=_whole_number(0), default=100, help="of augmentation, in 4 and compare; 0 for none"
        )
        one.add_argument("--detectors", type=_split, default=[], help="for compare: names, with commas between")
        one.add_argument("--jobs", type=_whole_number(1), default=1, help="processes")
        one.add_argument(
            "--random-state",
            type=_whole_number(0, _LARGEST_SEED),
            default=0,
            help="of augmentation and of detectors that draw",
        )
        one.add_argument("--cache", help="folder for features; the user's cache folder by default")
    return parser


def _add_images(parser):
    """Add what every command asks for: which images, how often divided, where to."""
    parser.add_argument("--data", nargs="+", choices=["mvtec", "elpv"], required=True, help="which images")
    parser.add_argument("--root", nargs="+", default=[], help="folders of categories, for --data mvtec")
    parser.add_argument("--categories", nargs="+", help="only these; all that are there by default")
    parser.add_argument("--folds", type=_whole_number(2), default=5, help="5, as in the paper")
    parser.add_argument("--out", type=Path, required=True, help="folder for the tables and for what is finished")
    parser.add_argument("--quiet", action="store_true", help="no progress and no tables on the screen")


def _whole_number(least, most=None):
    """Return a function that reads a whole number in this range from the command line."""

    def read(text):
        value = int(text)
        if value < least or (most is not None and value > most):
            raise argparse.ArgumentTypeError(f"at least {least}" + ("" if most is None else f", at most {most}"))
        return value

    read.__name__ = "whole number"  # in argparse's message
    return read


def _split(text):
    return [name.strip() for name in text.split(",") if name.strip()]


def _load_categories(options):
    if "mvtec" in options.data and not options.root:
        raise ValueError("--data mvtec needs --root, the folder of the categories.")
    asked = options.categories
    packaged = [name for name in asked or () if name.startswith("elpv")]
    others = None if asked is None else [name for name in asked if name not in packaged]
    categories = []
    if "mvtec" in options.data:
        categories += load_mvtec(options.root, others, options.folds)
    if "elpv" in options.data and (asked is None or packaged):
        categories += load_packaged(packaged or None)
    return categories


def _list_tables(which, backbones):
    asked = [which] if isinstance(which, str) else list(which)
    unknown = [name for name in asked if name not in (*_ORDER, "all")]
    if unknown:
        raise ValueError(f"tables are {', '.join(_ORDER)} and all; got {', '.join(map(repr, unknown))}.")
    if "all" not in asked:
        return [name for name in _ORDER if name in asked]
    resnets = backbones is None or any(name.startswith(("resnet", "wide_resnet")) for name in backbones)
    return [name for name in _ORDER if name != "7" or resnets]  # Table VII is Table II for ResNets


def _find_backbones(name, backbones):
    if backbones:
        return list(dict.fromkeys(backbones))
    return list({"compare": BACKBONES, "findings": LAYOUTS["2"].backbones}.get(name) or LAYOUTS[name].backbones)


def _find_layout(name, n_passes):
    return LAYOUTS[name] if n_passes else without_augmentation(LAYOUTS[name])


def _make_plan(names, backbones, detectors, n_passes):
    """Return for each backbone the families that the tables need of it."""
    plan: dict[str, list] = {}
    for name in names:
        if name == "compare":
            families = [*STANDARD, *detectors, *([AUGMENTED] if n_passes else [])]
        elif name == "findings":
            families = [GAUSSIANS, COMPRESSIONS]
        else:
            families = list(_find_layout(name, n_passes).families)
        for backbone in _find_backbones(name, backbones):
            own = plan.setdefault(backbone, [])
            own += [family for family in families if family not in own]
    return plan


def _make_notes(categories, n_folds, n_passes):
    names = ", ".join(one.name for one in categories)
    notes = [
        f"{len(categories)} categories ({names}); {n_folds} folds, each fitted on its {n_folds - 1} parts of the "
        "training images and judged by the whole test set; AUROC is averaged over the folds of a category first, then "
        f"mean and SEM are taken over the categories. Augmentation, where it is named: {n_passes} passes.",
    ]
    if not _are_complete(categories):
        notes.append(f"No published means stand beside these: {find_gaps(categories)}.")
    return notes


def _show(tables, costs):
    for table in tables:
        blocks = "\n".join(f"{heading}\n\n{block}" if heading else block for heading, block in table.blocks)
        sys.stdout.write(f"\n{table.title}\n\n{blocks}")
    sys.stdout.write(f"\n{costs}")
