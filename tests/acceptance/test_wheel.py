"""What people install: the wheel holds everything and nothing else, and works in an empty environment."""

import os
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path
from typing import NamedTuple

import pytest
from uv import find_uv_bin

ROOT = Path(__file__).parents[2]
PYPROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
PACKAGES = [ROOT / path for path in PYPROJECT["tool"]["hatch"]["build"]["targets"]["wheel"]["packages"]]

# The first run on a machine downloads numpy, scipy and scikit-learn once more, for the empty environment.
pytestmark = pytest.mark.timeout(400)

IMPORT_EVERYTHING = """
import importlib, pkgutil, splitgauge
names = [module.name for module in pkgutil.walk_packages(splitgauge.__path__, "splitgauge.")]
for name in names:
    if not name.endswith("__main__"):
        importlib.import_module(name)
print(*names, *splitgauge.__path__, sep="\\n")
"""


class Installation(NamedTuple):
    """An environment with the wheel, its locked dependencies and nothing else."""

    folder: Path

    def run(self, program: str, *arguments: str, cwd: Path, timeout_s: float = 60) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [str(self.folder / "bin" / program), *arguments],
            cwd=cwd,
            env=os.environ | {"PATH": os.defpath, "HOME": str(cwd), "PYTHONPATH": ""},
            capture_output=True,
            text=True,
            timeout=timeout_s,
            check=False,
        )


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    build = [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(folder), str(ROOT)]
    subprocess.run(build, check=True, capture_output=True)
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installation(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Installation:
    folder = tmp_path_factory.mktemp("empty") / "venv"
    uv = [find_uv_bin(), "--no-config", "--quiet"]
    locked = ["--constraints", str(ROOT / "requirements.lock")]
    subprocess.run([*uv, "venv", "--no-project", "--python", sys.executable, str(folder)], check=True)
    subprocess.run([*uv, "pip", "install", "--python", str(folder), *locked, f"{wheel}[compiled,demo]"], check=True)
    return Installation(folder)


def test_the_only_top_level_is_splitgauge(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        top_levels = {name.split("/")[0] for name in archive.namelist()}
    assert top_levels == {"splitgauge", f"splitgauge-{PYPROJECT['project']['version']}.dist-info"}


def test_every_file_of_the_roots_is_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        packed = sorted(name for name in archive.namelist() if name.startswith("splitgauge/"))
    on_disk = [
        path.relative_to(package.parent) for package in PACKAGES for path in package.rglob("*") if path.is_file()
    ]
    assert packed == sorted(path.as_posix() for path in on_disk if "__pycache__" not in path.parts)


def test_every_module_imports_without_the_development_tools(installation: Installation, tmp_path: Path) -> None:
    run = installation.run("python", "-W", "error", "-c", IMPORT_EVERYTHING, cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    *names, place = run.stdout.splitlines()
    assert {"splitgauge.schemas.errors", "splitgauge.cli"} <= set(names)
    assert Path(place).is_relative_to(installation.folder)


def test_the_installed_command_tells_its_version(installation: Installation, tmp_path: Path) -> None:
    run = installation.run("splitgauge", "version", cwd=tmp_path)
    assert run.returncode == 0, run.stderr
    assert PYPROJECT["project"]["version"] in run.stdout


def test_the_demo_runs_from_an_installed_wheel(installation: Installation, tmp_path: Path) -> None:
    run = installation.run("splitgauge", "demo", "--json", cwd=tmp_path, timeout_s=180)
    assert run.returncode == 0, run.stdout + run.stderr
