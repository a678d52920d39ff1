"""Whether the libraries are those that this version was made for."""

from importlib.metadata import PackageNotFoundError

from splitgauge.cluster.finding import Outcome
from splitgauge.cluster.version_checks import check_versions, library_findings

INSTALLED = {"aiokafka": "0.14.0", "click": "8.4.0"}


def installed(name: str) -> str:
    if name not in INSTALLED:
        raise PackageNotFoundError(name)
    return INSTALLED[name]


def test_what_is_installed_for_these_tests_is_what_this_version_wants() -> None:
    assert [finding.outcome for finding in check_versions()] == [Outcome.OK, Outcome.OK]


def test_a_library_beyond_its_limits_and_one_that_is_missing_are_named() -> None:
    found = library_findings(["aiokafka<0.15,>=0.14", "click<8.4,>=8.1", "apsw>=3.51.3"], installed)
    assert [(finding.subject, finding.message) for finding in found] == [
        ("click", "8.4.0 is installed, wanted <8.4,>=8.1"),
        ("apsw", "it is not installed"),
    ]


def test_libraries_of_extras_and_of_other_systems_are_not_asked_for() -> None:
    (found,) = library_findings(["pandas; extra == 'peers'", "uvloop; sys_platform == 'nowhere'"], installed)
    assert (found.outcome, found.message) == (Outcome.OK, "0 libraries, each of a version that this one asks for")
