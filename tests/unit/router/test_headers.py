"""Which headers pass."""

from splitgauge.router.headers import answer_headers, request_headers


def test_the_callers_credentials_stay_where_the_workload_has_its_own() -> None:
    caller = {"authorization": "Bearer caller", "x-api-key": "caller", "cookie": "c=1", "accept": "*/*"}
    assert request_headers(caller, {}, secret="ours") == {
        "accept": "*/*",
        "authorization": "Bearer ours",
        "accept-encoding": "identity",
    }


def test_the_callers_credentials_go_on_where_the_workload_has_none_but_cookies_never() -> None:
    caller = {"authorization": "Bearer caller", "cookie": "c=1"}
    assert request_headers(caller, {}, secret=None) == {
        "authorization": "Bearer caller",
        "accept-encoding": "identity",
    }


def test_headers_of_one_connection_and_our_own_stay() -> None:
    caller = {
        "connection": "close, X-Private",
        "x-private": "1",
        "transfer-encoding": "chunked",
        "host": "us",
        "content-length": "3",
        "accept-encoding": "gzip",
        "x-splitgauge-unit": "anna",
        "content-type": "application/json",
    }
    assert request_headers(caller, {}, secret=None) == {
        "content-type": "application/json",
        "accept-encoding": "identity",
    }


def test_configured_headers_win() -> None:
    assert request_headers({"x-tier": "low"}, {"X-Tier": "high"}, secret=None)["x-tier"] == "high"


def test_the_answers_headers_come_back_in_order_with_the_new_length() -> None:
    endpoint = [
        (b"Set-Cookie", b"a=1"),
        (b"Content-Length", b"2"),
        (b"ETag", b'"x"'),
        (b"Connection", b"keep-alive"),
        (b"set-cookie", b"b=2"),
        (b"x-request-id", b"theirs"),
    ]
    assert answer_headers(endpoint, spliced=True, length=9) == [
        (b"set-cookie", b"a=1"),
        (b"set-cookie", b"b=2"),
        (b"x-request-id", b"theirs"),
        (b"content-length", b"9"),
    ]
    assert (b"etag", b'"x"') in answer_headers(endpoint, spliced=False, length=2)
