"""Tokens: what goes in comes out, and only ours."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from splitgauge.router.token import Token, TokenSigner
from splitgauge.schemas.errors import UnknownSubjectError

SIGNER = TokenSigner(b"k" * 32)
REQUEST = "0f8fad5b-d9cb-469f-a165-70867728950e"
UNIT = "d136a05b17b08dc718fb9d860814f4e7"


@given(
    request=st.uuids(),
    unit=st.binary(min_size=16, max_size=16),
    split=st.none() | st.tuples(st.text("abcXYZ019._-", min_size=1, max_size=100), st.integers(1, 2**32 - 1)),
)
def test_a_token_says_what_was_signed(request: object, unit: bytes, split: tuple[str, int] | None) -> None:
    experiment, epoch = split or (None, None)
    token = Token(str(request), unit.hex(), experiment, epoch)
    text = SIGNER.sign(token)
    assert SIGNER.verify(text) == token
    assert text.isascii()
    assert text.replace("-", "").replace("_", "").isalnum()


def test_a_token_shows_no_experiment_to_who_has_another_key() -> None:
    with pytest.raises(UnknownSubjectError) as caught:
        TokenSigner(b"o" * 32).verify(SIGNER.sign(Token(REQUEST, UNIT, "e1", 1)))
    assert caught.value.code == "unknown-token"


@pytest.mark.parametrize(
    "text", ["", "x", "é", "A" * 66, "=" * 8, " ", "AAAA" * 200, SIGNER.sign(Token(REQUEST, UNIT))[:-1]]
)
def test_what_was_never_signed_is_unknown(text: str) -> None:
    with pytest.raises(UnknownSubjectError):
        SIGNER.verify(text)


def test_no_byte_can_be_changed() -> None:
    text = SIGNER.sign(Token(REQUEST, UNIT, "e1", 1))
    for place in range(len(text) - 1):
        other = "A" if text[place] != "A" else "B"
        with pytest.raises(UnknownSubjectError):
            SIGNER.verify(text[:place] + other + text[place + 1 :])
