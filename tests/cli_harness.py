"""The command line for tests: in this process where that is enough, in one of its own where signals or exits matter."""

import os
import subprocess
import sys
from contextlib import chdir
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
from typer.testing import CliRunner

from splitgauge.cli.application import application


@dataclass(frozen=True)
class Run:
    """How a command ended."""

    status: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        return orjson.loads(self.out)


@dataclass(frozen=True)
class CommandLine:
    """Runs commands in a folder, with the server's URL in the environment where there is one."""

    folder: Path
    url: str | None = None

    @property
    def environment(self) -> dict[str, str]:
        kept = {name: value for name, value in os.environ.items() if not name.startswith("SPLITGAUGE_")}
        mark = {name: value for name, value in os.environ.items() if name == "SPLITGAUGE_TEST_RUN"}
        return kept | mark | ({"SPLITGAUGE_URL": self.url} if self.url else {})

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-m", "splitgauge.cli", *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str, stdin: str = "") -> Run:
        """In this process, which is quicker: a second of imports a command adds up."""
        unset = {name: None for name in os.environ if name.startswith("SPLITGAUGE_")}
        with chdir(self.folder):
            result = CliRunner().invoke(
                application(), arguments, input=stdin, env={**unset, "SPLITGAUGE_URL": self.url}
            )
        if result.exception is not None and not isinstance(result.exception, SystemExit):
            raise result.exception
        return Run(result.exit_code, result.stdout, result.stderr)

    def run_apart(self, *arguments: str, stdin: str = "") -> Run:
        with self.start(*arguments) as process:
            out, err = process.communicate(stdin, timeout=60)
        return Run(process.returncode, out, err)
