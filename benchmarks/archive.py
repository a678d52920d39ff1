"""Speed of the archiver against a bare COPY of the same rows into a table of the same shape, on the same PostgreSQL.

The bare COPY has the rows in memory; the archiver reads them from an embedded log, checks every offset, moves positions
and publishes. Both commit batches of the same size and wait for the disk. Beside it: reading the archive back.

    python benchmarks/archive.py [--events 100000] [--rounds 3]
"""

import argparse
import asyncio
import sys
import tempfile
import time
from pathlib import Path
from random import Random
from typing import NamedTuple

import asyncpg

sys.path.append(str(Path(__file__).parents[1] / "infra" / "servers"))

from postgres_server import PostgresServer
from splitgauge.archiver import Archiver, ArchiverSettings
from splitgauge.eventlog.port import Record, StoredRecord
from splitgauge.eventlog.postgres_archive import PostgresArchive
from splitgauge.eventlog.postgres_archive_writer import ArchiveWriter
from splitgauge.eventlog.sqlite import SqliteEventLog
from splitgauge.schemas.topics import OBSERVATIONS

EVENT_BYTES = 474
PARTITIONS = 4
BARE = """
CREATE TABLE bare (topic text COLLATE "C" NOT NULL, partition integer NOT NULL, "offset" bigint NOT NULL, key bytea,
    value bytea NOT NULL) PARTITION BY LIST (topic);
CREATE TABLE bare_observations PARTITION OF bare (PRIMARY KEY (partition, "offset"))
    FOR VALUES IN ('splitgauge.observations');
"""


class Rates(NamedTuple):
    """Events or rows a second."""

    bare: float
    archiver: float
    reading: float


async def fill(log: SqliteEventLog, events: int) -> None:
    chance = Random(1)
    for start in range(0, events, 1_000):
        await log.append(
            OBSERVATIONS.name,
            [
                Record(chance.randbytes(EVENT_BYTES), key=chance.randbytes(16).hex().encode(), partition=n % PARTITIONS)
                for n in range(start, min(start + 1_000, events))
            ],
        )


async def rows_of(log: SqliteEventLog) -> list[list[StoredRecord]]:
    """In batches, as the archiver makes them."""
    batch = ArchiverSettings().batch_events
    return [
        await log.read(OBSERVATIONS.name, partition, start, limit=min(batch, end - start))
        for partition, (position, end) in (await log.bounds(OBSERVATIONS.name)).items()
        for start in range(position, end, batch)
    ]


async def bare_copy(batches: list[list[StoredRecord]], address: str) -> None:
    connection = await asyncpg.connect(address)
    columns = ("topic", "partition", "offset", "key", "value")
    for records in batches:
        await connection.copy_records_to_table("bare", columns=columns, records=records)
    await connection.close()


async def archive(log: SqliteEventLog, address: str) -> None:
    writer = await ArchiveWriter.open(address)
    await Archiver(log, writer).round()
    await writer.close()


async def read_back(address: str) -> int:
    stored = await PostgresArchive.open(address)
    count = 0
    for partition, (position, end) in (await stored.bounds(OBSERVATIONS.name)).items():
        while position < end:
            position += len(await stored.read(OBSERVATIONS.name, partition, position))
        count += end
    await stored.close()
    return count


async def one_round(server: PostgresServer, log: SqliteEventLog, events: int, *, archiver_first: bool) -> Rates:
    address = await server.make_database()
    connection = await asyncpg.connect(address)
    await connection.execute(BARE)
    await connection.close()
    rows = await rows_of(log)
    seconds: dict[str, float] = {}
    ways = {"bare": lambda: bare_copy(rows, address), "archiver": lambda: archive(log, address)}
    for name in sorted(ways, reverse=not archiver_first):
        begun = time.perf_counter()
        await ways[name]()
        seconds[name] = time.perf_counter() - begun
    begun = time.perf_counter()
    assert await read_back(address) == events
    seconds["reading"] = time.perf_counter() - begun
    return Rates(events / seconds["bare"], events / seconds["archiver"], events / seconds["reading"])


async def main(events: int, rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder, PostgresServer(durable=True) as server:
        log = SqliteEventLog.open(Path(folder), observation_partitions=PARTITIONS)
        await fill(log, events)
        found = [await one_round(server, log, events, archiver_first=bool(number % 2)) for number in range(rounds)]
        await log.close()
        best = Rates(*(max(column) for column in zip(*found, strict=True)))
        print(f"{events} events of {EVENT_BYTES} bytes, best of {rounds} rounds")
        print(f"bare COPY:                             {best.bare:10,.0f} events/s")
        print(
            f"archiver:                              {best.archiver:10,.0f} events/s   "
            f"ratio {best.archiver / best.bare:.2f} (target 0.5)"
        )
        print(f"reading the archive, 500 at once:      {best.reading:10,.0f} events/s")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description="Speed of the archive in PostgreSQL")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--rounds", type=int, default=3)
    arguments = parser.parse_args()
    asyncio.run(main(arguments.events, arguments.rounds))
