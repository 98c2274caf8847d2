"""Print the lowest version that pyproject.toml admits of each package that it names, as constraints for pip."""

import sys
import tomllib
from pathlib import Path

from packaging.requirements import Requirement

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text())["project"]
named = [*project["dependencies"], *(one for extra in project["optional-dependencies"].values() for one in extra)]
for requirement in sorted(set(map(Requirement, named)), key=str):
    for bound in requirement.specifier:
        if bound.operator == ">=":
            sys.stdout.write(f"{requirement.name}=={bound.version}\n")
