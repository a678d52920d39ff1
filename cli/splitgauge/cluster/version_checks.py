"""Whether what is installed is what this version was made for."""

import platform
from collections.abc import Callable, Iterable
from importlib.metadata import PackageNotFoundError, requires, version

from packaging.requirements import Requirement

from splitgauge.cluster.finding import Finding

__all__ = ["check_versions", "library_findings"]

_PACKAGE = "splitgauge"


def check_versions() -> list[Finding]:
    """Ours, Python's, and those of the libraries."""
    about = f"{version(_PACKAGE)} on Python {platform.python_version()}"
    return [Finding.ok("version", _PACKAGE, about), *library_findings(requires(_PACKAGE) or [], version)]


def library_findings(wanted: Iterable[str], installed: Callable[[str], str]) -> list[Finding]:
    """`wanted`: requirements as a package states them. `installed`: a version; PackageNotFoundError: there is none."""
    wrong: list[Finding] = []
    needed = [one for one in map(Requirement, wanted) if one.marker is None or one.marker.evaluate({"extra": ""})]
    for requirement in needed:
        remedy = f"Install {requirement.name}{requirement.specifier}; requirements.lock has what was tried together"
        try:
            found = installed(requirement.name)
        except PackageNotFoundError:
            wrong.append(Finding.failed("library", requirement.name, "it is not installed", remedy))
            continue
        if not requirement.specifier.contains(found, prereleases=True):
            message = f"{found} is installed, wanted {requirement.specifier}"
            wrong.append(Finding.failed("library", requirement.name, message, remedy))
    return wrong or [Finding.ok("library", "all", f"{len(needed)} libraries, each of a version that this one asks for")]
