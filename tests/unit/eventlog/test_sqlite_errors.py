"""Each error of SQLite becomes the error of Splitgauge that says what to do."""

import apsw
import pytest

from splitgauge.eventlog.sqlite_errors import mapped, translate
from splitgauge.schemas.errors import ContractError, LogDamagedError, LogUnavailableError, SplitgaugeError


@pytest.mark.parametrize(
    ("error", "expected", "remedy"),
    [
        (apsw.FullError("database or disk is full"), LogUnavailableError, "Make room"),
        (apsw.IOError("disk I/O error"), LogUnavailableError, ""),
        (apsw.BusyError("database is locked"), LogUnavailableError, ""),
        (apsw.ReadOnlyError("attempt to write a readonly database"), LogUnavailableError, "right to write"),
        (apsw.CantOpenError("unable to open database file"), LogUnavailableError, "may read and write"),
        (apsw.CorruptError("database disk image is malformed"), LogDamagedError, "export or a backup"),
        (apsw.NotADBError("file is not a database"), LogDamagedError, "export or a backup"),
        (apsw.TooBigError("string or blob too big"), ContractError, ""),
    ],
)
def test_the_error_names_the_place_and_keeps_its_cause(
    error: apsw.Error, expected: type[SplitgaugeError], remedy: str
) -> None:
    with pytest.raises(expected) as caught, mapped("here"):
        raise error
    assert caught.value.where == "here"
    assert remedy in caught.value.remedy
    assert caught.value.__cause__ is error


def test_an_error_that_only_a_bug_can_cause_stays_as_it_is() -> None:
    assert translate(apsw.MisuseError("bad parameter"), where="here") is None
    with pytest.raises(apsw.MisuseError), mapped("here"):
        raise apsw.MisuseError("bad parameter")
