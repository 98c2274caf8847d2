"""Warnings that point at the user's line, however deep in the package they are raised.

Python shows a warning once for each line that it points at: one that points into the package is shown for the first of
many fits, and for no other.
"""

import os
import sys
import warnings
from pathlib import Path

import joblib
import sklearn

# scikit-learn and joblib call estimators for the user: in a pipeline, a search, a fold.
_PASSED_OVER = tuple(
    str(folder) + os.sep
    for folder in (Path(__file__).parents[1], Path(sklearn.__file__).parent, Path(joblib.__file__).parent)
)


def warn(message, category):
    """Warn at the innermost line that is not of skgad, scikit-learn or joblib; at the outermost if all are.

    Parameters
    ----------
    message : str
    category : type of Warning
    """
    # warnings.warn(skip_file_prefixes=) does this from Python 3.12 on.
    frame, stacklevel = sys._getframe(1), 2
    while frame.f_back is not None and frame.f_code.co_filename.startswith(_PASSED_OVER):
        frame, stacklevel = frame.f_back, stacklevel + 1
    warnings.warn(message, category, stacklevel=stacklevel)
