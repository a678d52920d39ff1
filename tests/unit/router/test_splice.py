"""Metadata in the bytes: nothing else moves."""

import json
from typing import Any

import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitgauge.router.json_value import is_object
from splitgauge.router.splice import splice

OURS = {"ab_test_id": "e1", "ab_variant_name": "b"}
SPLICED = b'"metadata":{"ab_test_id":"e1","ab_variant_name":"b"}'


def spliced(body: bytes) -> bytes:
    return splice(body, orjson.loads(body), dict(OURS))


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        (b"{}", b"{" + SPLICED + b"}"),
        (b" { } \n", b" { " + SPLICED + b"} \n"),
        (b'{"n": 1.0, "m": 1e2}\n', b'{"n": 1.0, "m": 1e2,' + SPLICED + b"}\n"),
        (b'{"n":123456789012345678901234567890}', b'{"n":123456789012345678901234567890,' + SPLICED + b"}"),
        (b'{"a":1,"a":2}', b'{"a":1,"a":2,' + SPLICED + b"}"),
        (b'{"a":"}\\"{"}', b'{"a":"}\\"{",' + SPLICED + b"}"),
        (b'{"metadata": null, "z": 1}', b'{"metadata": {"ab_test_id":"e1","ab_variant_name":"b"}, "z": 1}'),
        (b'{"metadata":{}}', b'{"metadata":{"ab_test_id":"e1","ab_variant_name":"b"}}'),
        (
            b'{"metadata": {"k": [1, {"metadata": "}"}]} , "z":1}',
            b'{"metadata": {"k": [1, {"metadata": "}"}],"ab_test_id":"e1","ab_variant_name":"b"} , "z":1}',
        ),
        (
            b'{"x":{"metadata":{"deep":1}}}',
            b'{"x":{"metadata":{"deep":1}},' + SPLICED + b"}",
        ),
        (
            b'{"m\\u0065tadata":{"k":1}}',
            b'{"m\\u0065tadata":{"k":1,"ab_test_id":"e1","ab_variant_name":"b"}}',
        ),
        (
            b'{"metadata":{"first":1},"metadata":{"last":1}}',
            b'{"metadata":{"first":1},"metadata":{"last":1,"ab_test_id":"e1","ab_variant_name":"b"}}',
        ),
    ],
)
def test_only_the_metadata_is_added(body: bytes, expected: bytes) -> None:
    assert spliced(body) == expected
    json.loads(expected)


def test_names_that_are_there_already_get_our_values() -> None:
    body = b'{"metadata":{"ab_test_id" : "inner", "k":1, "ab_variant_name":null},"n":1.0}'
    assert spliced(body) == b'{"metadata":{"ab_test_id" :"e1", "k":1, "ab_variant_name":"b"},"n":1.0}'


@pytest.mark.parametrize("body", [b"[1]", b'"text"', b"1", b"null", b'{"metadata":"mine"}', b'{"metadata":[1]}'])
def test_what_has_no_place_for_metadata_stays_as_it_is(body: bytes) -> None:
    assert spliced(body) is body


def test_what_is_not_json_stays_as_it_is() -> None:
    assert splice(b"<html>", None, dict(OURS)) == b"<html>"


def test_null_says_that_no_experiment_was_there() -> None:
    body = splice(b'{"a":1}', {"a": 1}, {"ab_test_id": None, "ab_variant_name": None})
    assert body == b'{"a":1,"metadata":{"ab_test_id":null,"ab_variant_name":null}}'


# Text that JSON can carry: no lone surrogates, which orjson refuses to read.
NAMES = st.one_of(
    st.sampled_from(["metadata", "ab_test_id", 'quo"te', "back\\slash", "}", "é"]),
    st.text(st.characters(exclude_categories=["Cs"]), max_size=4),
)
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | TEXTS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=12,
)


@given(
    document=st.dictionaries(NAMES, VALUES, max_size=5),
    indent=st.sampled_from([None, 0, 2]),
    escaped=st.booleans(),
)
def test_the_parsed_answer_is_the_original_and_the_metadata(
    document: dict[str, Any], indent: int | None, escaped: bool
) -> None:
    body = json.dumps(document, indent=indent, ensure_ascii=escaped).encode()
    result = spliced(body)
    there: Any = document.get("metadata")
    if there is not None and not is_object(there):
        assert result == body
    else:
        assert orjson.loads(result) == {**document, "metadata": {**(there or {}), **OURS}}


@given(
    document=st.dictionaries(NAMES, VALUES, max_size=5),
    indent=st.sampled_from([None, 2]),
)
def test_without_the_splice_the_bytes_are_the_original(document: dict[str, Any], indent: int | None) -> None:
    document.pop("metadata", None)
    body = json.dumps(document, indent=indent).encode()
    added = (b"," if document else b"") + SPLICED
    result = spliced(body)
    assert result.count(added) >= 1
    at = result.rindex(added)
    assert result[:at] + result[at + len(added) :] == body
