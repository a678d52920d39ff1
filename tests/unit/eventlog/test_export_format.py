"""Lines of an export: any event goes through unchanged."""

import orjson
from hypothesis import given
from hypothesis import strategies as st

from splitgauge.eventlog.export_format import decode_line, encode_line
from splitgauge.eventlog.port import StoredRecord
from splitgauge.schemas.topics import TOPICS

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
)
KEYS = st.none() | st.binary(max_size=40) | st.text().map(lambda text: text.encode(errors="surrogatepass"))
VALUES = st.binary(max_size=200) | JSON.map(orjson.dumps) | st.text().map(lambda text: text.encode("utf-8", "replace"))


@given(st.sampled_from(list(TOPICS)), st.integers(0, 1_000), st.integers(0, 2**62), KEYS, VALUES)
def test_a_line_gives_back_its_event(topic: str, partition: int, offset: int, key: bytes | None, value: bytes) -> None:
    event = StoredRecord(topic, partition, offset, key, value)
    line = encode_line(event)
    assert decode_line(line, where="here") == event
    assert line.endswith(b"\n")
    assert line.count(b"\n") == 1
    orjson.loads(line)


def test_the_bytes_of_an_event_stand_in_the_line_untouched() -> None:
    value = b'{"b": 1.50,\t"a":"\\u00e9"}'
    line = encode_line(StoredRecord("splitgauge.decisions", 0, 7, b"w1", value))
    assert line == b'{"topic":"splitgauge.decisions","partition":0,"offset":7,"key":"w1","event":' + value + b"}\n"
