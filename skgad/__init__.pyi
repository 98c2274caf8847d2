# Where each name lives: read by `skgad/__init__.py`, which imports it at first use, and by type checkers.
from . import (
    benchmark as benchmark,
)
from . import (
    cli as cli,
)
from . import (
    datasets as datasets,
)
from . import (
    deep as deep,
)
from . import (
    deploy as deploy,
)
from . import (
    distributed as distributed,
)
from . import (
    exceptions as exceptions,
)
from . import (
    inspection as inspection,
)
from . import (
    metrics as metrics,
)
from . import (
    model_selection as model_selection,
)
from . import (
    monitoring as monitoring,
)
from . import (
    plotting as plotting,
)
from . import (
    report as report,
)
from . import (
    spatial as spatial,
)
from ._calibration._cleaner import TrainingSetCleaner as TrainingSetCleaner
from ._calibration._combined import CombinedDetector as CombinedDetector
from ._calibration._full_conformal import FullConformalThreshold as FullConformalThreshold
from ._calibration._threshold import FPRThreshold as FPRThreshold
from ._calibration._threshold_cv import FPRThresholdCV as FPRThresholdCV
from ._conventions._labels import as_labels as as_labels
from ._detectors._cellwise import CellwiseDetector as CellwiseDetector
from ._detectors._levelwise import LevelwiseDetector as LevelwiseDetector
from ._detectors._levelwise import LevelwiseTransformer as LevelwiseTransformer
from ._detectors._mahalanobis import MahalanobisDetector as MahalanobisDetector
from ._detectors._mixture import MahalanobisMixture as MahalanobisMixture
from ._detectors._normal_rows_only import NormalRowsOnly as NormalRowsOnly
from ._detectors._npca import NPCA as NPCA
from ._gaussian._laws import sigma_to_fpr as sigma_to_fpr
from ._line import make_line as make_line
from ._line_file import load_line as load_line
from ._line_file import save_line as save_line
from ._version import __version__ as __version__
from .deep._transformer import DeepFeatureTransformer as DeepFeatureTransformer
