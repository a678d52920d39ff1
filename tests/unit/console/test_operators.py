"""What parts say of themselves, as Prometheus reads it."""

from splitgauge.console.operators import exposition


def test_numbers_and_truths_become_metrics_by_their_names() -> None:
    router = {"ready": True, "log_away": False, "spool_bytes": 2**40, "spooled_events_total": 7, "age_s": 0.25}
    assert exposition({"router": router, "console": {"ready": False}}).decode().splitlines() == [
        "# TYPE splitgauge_router_ready gauge",
        "splitgauge_router_ready 1",
        "# TYPE splitgauge_router_log_away gauge",
        "splitgauge_router_log_away 0",
        "# TYPE splitgauge_router_spool_bytes gauge",
        "splitgauge_router_spool_bytes 1099511627776",
        "# TYPE splitgauge_router_spooled_events_total counter",
        "splitgauge_router_spooled_events_total 7",
        "# TYPE splitgauge_router_age_s gauge",
        "splitgauge_router_age_s 0.25",
        "# TYPE splitgauge_console_ready gauge",
        "splitgauge_console_ready 0",
    ]


def test_text_and_what_is_nested_is_no_metric() -> None:
    assert exposition({"router": {"said": "so", "applied": {"offset": 3}, "reason": None}}) == b""
