import subprocess
import sys

import skgad


def test_import_is_light():
    code = """
import sys
import skgad, skgad.benchmark, skgad.datasets, skgad.deep, skgad.inspection
import skgad.monitoring, skgad.plotting, skgad.spatial
sys.exit(", ".join({"torch", "timm", "matplotlib", "skimage", "polars", "cv2"} & sys.modules.keys()) or None)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")


def test_public_names_are_there_and_documented():
    for name in skgad.__all__:
        assert getattr(skgad, name).__doc__
