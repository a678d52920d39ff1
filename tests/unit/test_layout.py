"""The repository's own rules: folders, `pyproject.toml`, `requirements.lock` and `docs/` must agree."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
PYPROJECT: dict[str, Any] = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
TOOLS: dict[str, Any] = PYPROJECT["tool"]
LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")
PORTIONS = sorted(
    path.parent for pattern in ("*", "services/*") for path in ROOT.glob(f"{pattern}/splitgauge/*/py.typed")
)
ROOTS = sorted({portion.parent.parent.relative_to(ROOT).as_posix() for portion in PORTIONS})
OTHER_ROOTS = {"tests", "benchmarks", "infra/servers", "typings"}
"""Of modules that are not ours to ship: tests, benchmarks, broker and database that they start, types of others."""
BLOCKS = re.split(r"^(?=[a-z0-9-]+==)", LOCK, flags=re.MULTILINE)[1:]
"""One for each pin: name, version and marker, then hashes, then who asks for it."""
PINS = [block.split(maxsplit=1)[0].split("==") for block in BLOCKS]


def declared() -> list[Requirement]:
    project = PYPROJECT["project"]
    groups: list[list[str]] = [project["dependencies"], *project["optional-dependencies"].values()]
    return [Requirement(line) for group in groups for line in group]


def test_no_init_file_hides_the_other_portions() -> None:
    assert list(ROOT.glob("*/splitgauge/__init__.py")) == []
    assert list(ROOT.glob("services/*/splitgauge/__init__.py")) == []


def test_every_folder_of_the_namespace_is_a_typed_package() -> None:
    folders = [path for pattern in ("*", "services/*") for path in ROOT.glob(f"{pattern}/splitgauge/*/")]
    assert sorted(folder for folder in folders if folder.name != "__pycache__") == PORTIONS
    assert [portion for portion in PORTIONS if not (portion / "__init__.py").is_file()] == []


@pytest.mark.parametrize(
    ("tool", "named"),
    [
        ("hatchling, editable", TOOLS["hatch"]["build"]["dev-mode-dirs"]),
        (
            "hatchling, wheel",
            [Path(path).parent.as_posix() for path in TOOLS["hatch"]["build"]["targets"]["wheel"]["packages"]],
        ),
        ("mypy", [path.removeprefix("$MYPY_CONFIG_FILE_DIR/") for path in TOOLS["mypy"]["mypy_path"].split(":")]),
        ("pyright", TOOLS["pyright"]["extraPaths"]),
        ("ruff", TOOLS["ruff"]["src"]),
    ],
)
def test_every_root_is_known_to(tool: str, named: list[str]) -> None:
    assert sorted(set(named) - OTHER_ROOTS) == ROOTS, f"pyproject.toml: roots for {tool}"


def test_every_line_of_the_pure_core_stands_for_one_module() -> None:
    (core,) = [contract for contract in TOOLS["importlinter"]["contracts"] if contract["id"] == "pure-core"]
    starred: list[str] = [line for line in core["source_modules"] if "*" in line]
    found = {line: [portion for portion in PORTIONS if _holds(portion, line.split(".")[-1])] for line in starred}
    assert {line: portions for line, portions in found.items() if len(portions) != 1} == {}


def _holds(portion: Path, module: str) -> bool:
    return (portion / f"{module}.py").is_file() or (portion / module / "__init__.py").is_file()


def locked(name: str) -> list[str]:
    """Versions of a package in the lock: several where they differ by the version of Python."""
    return [version for pinned, version in PINS if pinned == canonicalize_name(name)]


@pytest.mark.parametrize("requirement", declared(), ids=str)
def test_each_dependency_is_locked_within_its_bounds(requirement: Requirement) -> None:
    versions = locked(requirement.name)
    assert versions, f"{requirement.name} is not in requirements.lock: run `make lock`"
    outside = [version for version in versions if not requirement.specifier.contains(version, prereleases=True)]
    assert outside == [], f"{requirement} is locked to {outside}: run `make lock`"


def test_the_lock_names_no_dependency_that_is_gone() -> None:
    direct = {name for (name, _), block in zip(PINS, BLOCKS, strict=True) if "splitgauge (pyproject.toml)" in block}
    assert direct == {canonicalize_name(requirement.name) for requirement in declared()}, "run `make lock`"


def test_the_build_backend_comes_from_the_lock() -> None:
    for wanted in map(Requirement, PYPROJECT["build-system"]["requires"]):
        assert [wanted.specifier.contains(version) for version in locked(wanted.name)] == [True]


def test_the_lock_has_hashes_and_no_address() -> None:
    assert [block.splitlines()[0] for block in BLOCKS if "--hash=sha256:" not in block] == []
    assert re.findall(r".*(?:://|--index-url|--find-links| @ ).*", LOCK) == []


def test_every_decision_record_is_listed() -> None:
    records = ROOT / "docs" / "decisions"
    listed = re.findall(r"\]\((?P<file>[a-z0-9-]+\.md)\)", (records / "README.md").read_text(encoding="utf-8"))
    assert sorted(listed) == sorted(path.name for path in records.glob("*.md") if path.name != "README.md")
