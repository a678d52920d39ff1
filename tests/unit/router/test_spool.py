"""The spool: what it was told to keep is there, also for the next process."""

from pathlib import Path

import pytest

from splitgauge.eventlog.port import Record
from splitgauge.router.spool import FILE_NAME, Spool
from splitgauge.schemas.errors import LogDamagedError, LogUnavailableError

RECORDS = [Record(f"event {i}".encode(), None, i % 3) for i in range(7)]


def opened(folder: Path, limit_bytes: int = 10_000) -> Spool:
    return Spool(folder, limit_bytes=limit_bytes)


def written(folder: Path) -> Path:
    """A spool of one batch a record."""
    spool = opened(folder)
    for record in RECORDS:
        spool.append([record])
    spool.close()
    return folder / FILE_NAME


def all_of(spool: Spool) -> list[Record]:
    found: list[Record] = []
    while not spool.empty:
        records, place = spool.next(limit=2)
        found += records
        spool.advance(place)
    return found


def test_records_come_back_in_order(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.append(RECORDS[:3])
    spool.append(RECORDS[3:])
    assert all_of(spool) == RECORDS
    assert (tmp_path / FILE_NAME).stat().st_size == 0


def test_the_next_process_finds_what_is_not_in_the_log(tmp_path: Path) -> None:
    written(tmp_path)
    spool = opened(tmp_path)
    spool.advance(spool.next(limit=4)[1])
    spool.close()
    again = opened(tmp_path)
    assert not again.empty
    assert all_of(again) == RECORDS  # from the beginning: the same ids make that harmless


def test_an_emptied_spool_takes_records_again(tmp_path: Path) -> None:
    spool = opened(tmp_path)
    spool.append(RECORDS[:2])
    assert all_of(spool) == RECORDS[:2]
    spool.append(RECORDS[2:])
    assert all_of(spool) == RECORDS[2:]


@pytest.mark.parametrize("cut", [1, 5, 13, 20, 26])
def test_a_record_that_a_crash_left_unfinished_is_cut_off(tmp_path: Path, cut: int) -> None:
    path = written(tmp_path)
    path.write_bytes(path.read_bytes()[:-cut])
    again = opened(tmp_path)
    again.append(RECORDS[:1])
    assert all_of(again) == [*RECORDS[:-1], RECORDS[0]]


@pytest.mark.parametrize("zeros", [3, 12, 20, 27])
def test_an_end_that_was_made_room_for_but_not_written_is_cut_off(tmp_path: Path, zeros: int) -> None:
    path = written(tmp_path)
    data = path.read_bytes()
    path.write_bytes(data[:-zeros] + bytes(zeros))
    assert all_of(opened(tmp_path)) == RECORDS[:-1]


def test_every_byte_that_is_altered_before_the_last_batch_is_noticed(tmp_path: Path) -> None:
    path = written(tmp_path)
    data = path.read_bytes()
    batch = len(data) // len(RECORDS)
    for place in range(len(data) - batch):
        path.write_bytes(data[:place] + bytes([data[place] ^ 1]) + data[place + 1 :])
        with pytest.raises(LogDamagedError, match="damaged") as caught:
            opened(tmp_path)
        assert caught.value.where.endswith(f"byte {place // batch * batch}")


def test_a_full_spool_takes_nothing_of_what_does_not_fit(tmp_path: Path) -> None:
    spool = opened(tmp_path, limit_bytes=60)
    spool.append(RECORDS[:2])
    with pytest.raises(LogUnavailableError) as caught:
        spool.append(RECORDS[2:4])
    assert caught.value.code == "spool-full"
    assert all_of(spool) == RECORDS[:2]


def test_a_folder_that_cannot_be_is_an_unavailable_log(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(LogUnavailableError):
        opened(tmp_path / "file" / "folder")
