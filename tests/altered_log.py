"""A copy of a recorded log that a test may alter as a forger would, and an export of it to replay."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from splitgauge.eventlog.export_format import Footer, Header, encode_footer, encode_header, encode_line
from splitgauge.eventlog.jsonl_log import JsonlEventLog
from splitgauge.eventlog.port import Bounds, EventLog, StoredRecord
from splitgauge.schemas.codec import decode, encode
from splitgauge.schemas.envelope import data_bytes

__all__ = ["HISTORY", "AlteredLog"]

HISTORY = Path(__file__).parent / "histories" / "three_experiments.jsonl"
"""What `recorded.py` has recorded."""

TOPICS = ("observations", "analyses", "decisions", "dead-letters")


class AlteredLog:
    """Topics by their short names. Offsets are those of the copy as it is when a method is called."""

    def __init__(self, records: dict[tuple[str, int], list[StoredRecord]]) -> None:
        self._records = records

    @classmethod
    async def copy(cls, log: EventLog) -> "AlteredLog":
        """Everything in it."""
        records: dict[tuple[str, int], list[StoredRecord]] = {}
        for topic in TOPICS:
            for partition in await log.bounds(f"splitgauge.{topic}"):
                records[topic, partition] = await log.read(f"splitgauge.{topic}", partition, 0, limit=100_000)
        return cls(records)

    def records(self) -> dict[tuple[str, int], list[StoredRecord]]:
        """A copy, to alter in another way."""
        return {place: list(records) for place, records in self._records.items()}

    def end(self, topic: str, partition: int = 0) -> int:
        return self._records[topic, partition][-1].offset + 1

    def value(self, topic: str, partition: int, offset: int) -> bytes:
        return self._records[topic, partition][offset].value

    def data(self, topic: str, partition: int, offset: int) -> Any:
        return decode(data_bytes(self.value(topic, partition, offset)))

    def change(self, topic: str, partition: int, offset: int, *, old: bytes, new: bytes) -> None:
        """Other bytes in one event."""
        records = self._records[topic, partition]
        assert records[offset].value.count(old) >= 1
        records[offset] = records[offset]._replace(value=records[offset].value.replace(old, new, 1))

    def edit(self, topic: str, partition: int, offset: int, change: Callable[[Any], None]) -> None:
        """Another value in the data of one event."""
        records = self._records[topic, partition]
        recorded = data_bytes(records[offset].value)
        data = decode(recorded)
        change(data)
        records[offset] = records[offset]._replace(value=records[offset].value.replace(recorded, encode(data)))

    def lose(self, topic: str, partition: int, offset: int) -> None:
        """An event goes and leaves a gap."""
        records = self._records[topic, partition]
        records[:] = [record for record in records if record.offset != offset]

    def remove(self, topic: str, partition: int, offset: int) -> None:
        """An event goes, and those after it close up."""
        del self._records[topic, partition][offset]
        self._renumber(topic, partition)

    def insert(self, topic: str, partition: int, offset: int, value: bytes) -> None:
        """An event comes, and those after it make room."""
        record = StoredRecord(f"splitgauge.{topic}", partition, offset, b"key", value)
        self._records[topic, partition].insert(offset, record)
        self._renumber(topic, partition)

    def swap(self, topic: str, partition: int, one: int, other: int) -> None:
        records = self._records[topic, partition]
        records[one], records[other] = records[other], records[one]
        self._renumber(topic, partition)

    def truncate(self, topic: str, partition: int, end: int) -> None:
        del self._records[topic, partition][end:]

    def without(self, topic: str) -> None:
        """The topic is not there."""
        for place in [place for place in self._records if place[0] == topic]:
            self._records[place] = []

    def open(self, folder: Path) -> JsonlEventLog:
        """The altered log."""
        file = folder / "altered.jsonl"
        partitions = [number for topic, number in self._records if topic == "observations"]
        bounds: dict[str, list[Bounds]] = {}
        counts: dict[str, list[int]] = {}
        for (topic, _), records in sorted(self._records.items()):
            end = records[-1].offset + 1 if records else 0
            bounds.setdefault(f"splitgauge.{topic}", []).append(Bounds(0, end))
            counts.setdefault(f"splitgauge.{topic}", []).append(len(records))
        with file.open("wb") as target:
            topics = {topic: tuple(several) for topic, several in bounds.items()}
            target.write(encode_header(Header(len(partitions), topics)))
            for records in self._records.values():
                target.writelines(map(encode_line, records))
            target.write(encode_footer(Footer({topic: tuple(several) for topic, several in counts.items()})))
        return JsonlEventLog.open(file)

    def _renumber(self, topic: str, partition: int) -> None:
        records = self._records[topic, partition]
        records[:] = [record._replace(offset=offset) for offset, record in enumerate(records)]
