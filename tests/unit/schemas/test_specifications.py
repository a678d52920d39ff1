"""Workloads and experiments as people write them: defaults, and what is refused, with its place."""

from collections.abc import Callable
from typing import Any

import pytest

from splitgauge.schemas.experiment import ExperimentSpecification
from splitgauge.schemas.validation import InvalidError, validated
from splitgauge.schemas.workload import Overrides, Workload

WORKLOAD: dict[str, Any] = {"id": 42, "provider": "openai", "url": "https://host/v1"}
EXPERIMENT: dict[str, Any] = {
    "name": "x",
    "base_workload_id": 42,
    "variants": [
        {"name": "control", "workload_id": 42, "traffic_percent": 80},
        {"name": "b", "workload_id": 57, "traffic_percent": 20},
    ],
}
SOLVED = {"name": "solved", "kind": "proportion"}


def workload(**changes: Any) -> Workload:
    return validated(Workload, {**WORKLOAD, **changes})


def experiment(**changes: Any) -> ExperimentSpecification:
    return validated(ExperimentSpecification, {**EXPERIMENT, **changes})


def variants(*changes: dict[str, Any]) -> list[dict[str, Any]]:
    return [{**variant, **change} for variant, change in zip(EXPERIMENT["variants"], changes, strict=True)]


class TestWorkload:
    def test_number_and_its_text_are_one_workload(self) -> None:
        assert workload(id=42).key == workload(id="42").key == "42"
        assert workload(id=42).model_dump(mode="json")["id"] == 42

    def test_configuration_leaves_id_and_name_out(self) -> None:
        made = workload(name="n", parameters={"temperature": 0})
        assert set(type(made.configuration).model_fields) == set(Workload.model_fields) - {"id", "name"}
        assert made.configuration.parameters == {"temperature": 0}

    def test_overrides_win_and_merge(self) -> None:
        base = workload(parameters={"a": 1}, headers={"x": "1", "y": "1"}, timeout_s=9).configuration
        overrides = Overrides(model="m", parameters={"a": 2}, headers={"y": "2"}, timeout_s=3)
        made = base.overridden(overrides)
        assert (made.model, made.timeout_s, made.url) == ("m", 3, "https://host/v1")
        assert (made.parameters, made.forced_parameters, made.headers) == ({"a": 1}, {"a": 2}, {"x": "1", "y": "2"})
        assert base.forced_parameters == {}

    @pytest.mark.parametrize(
        ("url", "why"),
        [
            ("https://user:password@host/v1", "use `credential`"),
            ("https://user@host/v1", "use `credential`"),
            ("https://host/v1#top", "a fragment"),
            ("https://host/v1#", "a fragment"),
            ("http://host:65536/v1", "cannot be taken apart: Port out of range"),
            ("http://host:port/v1", "cannot be taken apart: Port could not be cast"),
            ("http://host:0/v1", "has port 0"),
            ("http://:80/v1", "has no host"),
            *[(f"http://ho{character}st/v1", "percent-encode") for character in " \t\n\0\\"],
            ("http://[::1", "cannot be taken apart: Invalid IPv6 URL"),
        ],
    )
    @pytest.mark.parametrize("model", [Workload, Overrides])
    def test_urls_that_cannot_be_called_are_refused(
        self, model: type[Workload | Overrides], url: str, why: str
    ) -> None:
        with pytest.raises(InvalidError) as refused:
            validated(model, {**(WORKLOAD if model is Workload else {}), "url": url})
        (error,) = refused.value.errors
        assert error["where"] == "/url"
        assert why in error["detail"]
        assert "password@" not in error["detail"]

    @pytest.mark.parametrize("url", ["http://[::1]:8080/v1", "https://host", "http://host:65535/a@b:c"])
    def test_urls_that_can_be_called_are_kept_as_written(self, url: str) -> None:
        assert (workload(url=url).url, Overrides(url=url).url) == (url, url)

    def test_query_is_for_webhooks_only(self) -> None:
        assert workload(provider="webhook", url="http://host/hook?a=1").url == "http://host/hook?a=1"
        with pytest.raises(InvalidError, match="without a query"):
            workload(provider="openai", url="https://host/v1?a=1")

    @pytest.mark.parametrize(
        ("name", "value", "why"),
        [
            *[
                (name, "1", "the router sets")
                for name in (
                    "Content-Length",
                    "Transfer-Encoding",
                    "Host",
                    "Connection",
                    "Upgrade",
                    "TE",
                    "Trailer",
                    "Expect",
                    "Keep-Alive",
                    "Proxy-Connection",
                )
            ],
            *[(name, "1", "no HTTP header name") for name in ("", "a b", "a:", "x\n", "é")],
            *[("x-a", value, "line break or NUL") for value in ("a\r\nHost: b", "a\n", "a\r", "a\0")],
            ("Cookie", "a=b", "use `credential`"),
        ],
    )
    @pytest.mark.parametrize("model", [Workload, Overrides])
    def test_headers_that_cannot_be_sent_are_refused(
        self, model: type[Workload | Overrides], name: str, value: str, why: str
    ) -> None:
        written = {**(WORKLOAD if model is Workload else {}), "headers": {"x-fine": "1", name: value}}
        with pytest.raises(InvalidError) as refused:
            validated(model, written)
        (error,) = refused.value.errors
        assert error["where"] == "/headers"
        assert error["detail"].startswith(f"header {name!r} ")
        assert why in error["detail"]

    @pytest.mark.parametrize(
        ("changes", "where"),
        [
            ({"id": -1}, "/id"),
            ({"id": True}, "/id"),
            ({"id": "a b"}, "/id"),
            ({"id": ""}, "/id"),
            ({"provider": "unknown"}, "/provider"),
            ({"url": "ftp://host"}, "/url"),
            ({"url": "http://"}, "/url"),
            ({"credential": "sk-secret"}, "/credential"),
            ({"headers": {"authorization": "x"}}, "/headers"),
            ({"headers": {"X-API-Key": "x"}}, "/headers"),
            ({"timeout_s": 0}, "/timeout_s"),
            ({"price": {"input_per_million": -1}}, "/price/input_per_million"),
            ({"price": {"input_per_million": float("inf")}}, "/price/input_per_million"),
            ({"a/b~c": 1}, "/a~1b~0c"),
        ],
    )
    def test_refused_at_its_place(self, changes: dict[str, Any], where: str) -> None:
        with pytest.raises(InvalidError) as refused:
            workload(**changes)
        assert [error["where"] for error in refused.value.errors] == [where]


class TestName:
    @pytest.mark.parametrize("make", [workload, experiment])
    @pytest.mark.parametrize("character", ["\n", "\t", "\0", "\x1b", "\x7f", "\x9b", "\u2028", "\ud800"])
    def test_control_characters_are_refused(self, make: Callable[..., object], character: str) -> None:
        with pytest.raises(InvalidError) as refused:
            make(name=f"a{character}b")
        assert [error["where"] for error in refused.value.errors] == ["/name"]

    @pytest.mark.parametrize("name", ["Größe 中文 👩‍🔬", "a b", "-"])
    def test_any_other_text_is_kept(self, name: str) -> None:
        assert (workload(name=name).name, experiment(name=name).name) == (name, name)


class TestExperiment:
    def test_defaults(self) -> None:
        made = experiment()
        assert (made.control_name, made.challenger_names) == ("control", ("b",))
        assert made.weights == {"control": 80, "b": 20}
        assert (made.goal.metric, made.alpha, made.power) == ("success", 0.05, 0.8)
        assert made.engine_of("success") == "asymptotic"
        assert [(g.metric, g.margin, made.margin_kind(g)) for g in made.guardrails] == [
            ("success", 0.005, "absolute"),
            ("latency_ms", 0.05, "relative"),
        ]
        assert (made.minimum.units, made.minimum.requests, made.minimum.duration_s) == (100, 100, 86_400)
        assert made.maximum_duration_s is None
        assert (made.policy.promote, made.policy.roll_back, made.policy.ramp, made.policy.stop) == (
            "recommend",
            "act",
            "act",
            "act",
        )

    def test_control_is_the_one_that_runs_the_base(self) -> None:
        assert experiment(variants=variants({"name": "old"}, {"name": "control"})).control_name == "old"
        both = variants({"name": "control"}, {"workload_id": 42})
        assert experiment(variants=both).control_name == "control"
        assert experiment(variants=both, control="b").control_name == "b"

    @pytest.mark.parametrize("field", ["weight", "traffic_percent"])
    @pytest.mark.parametrize("value", ["50", True])
    def test_share_is_a_number_not_what_might_be_read_as_one(self, field: str, value: object) -> None:
        share = {"traffic_percent": None, field: 50}
        assert experiment(variants=variants(share, share)).weights == {"control": 50.0, "b": 50.0}
        with pytest.raises(InvalidError) as refused:
            experiment(variants=variants(share, {**share, field: value}))
        assert [error["where"] for error in refused.value.errors] == [f"/variants/1/{field}"]

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"variants": variants({"name": "a"}, {"workload_id": 42})}, "no control"),
            ({"control": "c"}, "none of the variants"),
            ({"variants": variants({}, {"name": "control"})}, "have to differ"),
            ({"variants": variants({"traffic_percent": 70}, {})}, "adds up to 90"),
            ({"variants": variants({"traffic_percent": None, "weight": 1}, {})}, "all with `traffic_percent`"),
            ({"metrics": [SOLVED, SOLVED]}, "metric names have to differ"),
            ({"metrics": [{"name": "success"}]}, "router's own"),
            ({"goal": {"metric": "solved"}}, "neither declared nor the router's own"),
            ({"guardrails": [{"metric": "solved", "margin": 1}]}, "neither declared"),
            ({"guardrails": [{"metric": "cost", "margin": 1}] * 2}, "one guardrail a metric"),
            ({"guardrails": [{"metric": "success", "margin": 0.1, "margin_kind": "relative"}]}, "absolute margin"),
            ({"metrics": [{"name": "r", "kind": "ratio", "denominator": "metric:none"}]}, "no other declared metric"),
            ({"attribution_window_s": 10, "keep_s": 5}, "keep_s"),
        ],
    )
    def test_what_does_not_fit_together(self, changes: dict[str, Any], message: str) -> None:
        with pytest.raises(InvalidError, match=message):
            experiment(**changes)

    @pytest.mark.parametrize(
        ("changes", "where"),
        [
            ({"variants": EXPERIMENT["variants"][:1]}, "/variants"),
            ({"variants": variants({}, {"workload_id": None})}, "/variants/1"),
            ({"variants": variants({}, {"weight": 1})}, "/variants/1"),
            ({"variants": variants({"name": "-"}, {})}, "/variants/0/name"),
            ({"gaurdrails": []}, "/gaurdrails"),
            ({"alpha": 0.5}, "/alpha"),
            ({"alpha": float("nan")}, "/alpha"),
            ({"ramp": {"steps": []}}, "/ramp/steps"),
            ({"ramp": {"steps": [{"share": 0.2}, {"share": 0.1}]}}, "/ramp"),
            ({"traffic": {"start": 0.5, "end": 0.5}}, "/traffic"),
            ({"holdout": 1}, "/holdout"),
            ({"unit": "cookie:x"}, "/unit"),
            ({"minimum": {"unit": 1}}, "/minimum/unit"),
            ({"policy": {"promote": "yes"}}, "/policy/promote"),
            ({"metrics": [{"name": "a", "kind": "quantile"}]}, "/metrics/0"),
            ({"metrics": [{"name": "a", "fold": "max"}]}, "/metrics/0"),
            ({"metrics": [{**SOLVED, "level": "unit"}]}, "/metrics/0"),
            ({"metrics": [{**SOLVED, "cap": 1}]}, "/metrics/0"),
            ({"metrics": [{"name": "a", "cap": 1e-9}]}, "/metrics/0"),
            ({"metrics": [{"name": "a", "cap": 1e300, "scale": 10**15}]}, "/metrics/0"),
        ],
    )
    def test_refused_at_its_place(self, changes: dict[str, Any], where: str) -> None:
        with pytest.raises(InvalidError) as refused:
            experiment(**changes)
        assert [error["where"] for error in refused.value.errors] == [where]

    def test_what_was_read_from_the_log_is_what_was_written(self) -> None:
        made = experiment(metrics=[SOLVED], goal={"metric": "solved"}, ramp={"steps": [{"share": 0.1}]})
        assert ExperimentSpecification.model_validate(made.model_dump(mode="json", exclude_none=True)) == made

    def test_deep_nesting_is_refused(self) -> None:
        value: object = 1
        for _ in range(100_000):
            value = [value]
        with pytest.raises(InvalidError, match="64 levels"):
            workload(parameters={"p": value})


LATENCY = {"name": "fast", "kind": "proportion", "source": "latency_ms", "under": 500}
WAIT = {"name": "wait", "kind": "quantile", "quantile": 0.9}


class TestQuantilesAndLimits:
    @pytest.mark.parametrize(
        "fields",
        [
            {"goal": {"metric": "wait"}},
            {"guardrails": [{"metric": "wait", "margin": 0.1}]},
        ],
    )
    def test_a_quantile_decides_nothing_and_a_share_under_a_limit_is_advised(self, fields: dict[str, Any]) -> None:
        with pytest.raises(InvalidError, match=r"describes and decides nothing: declare a proportion, the share"):
            experiment(metrics=[WAIT], **fields)

    def test_a_share_under_a_limit_may_decide(self) -> None:
        made = experiment(
            metrics=[LATENCY], goal={"metric": "fast"}, guardrails=[{"metric": "fast", "margin": 0.01}]
        ).all_metrics["fast"]
        assert (made.direction, made.counted_over, made.reported, made.sketched) == ("up", "reports", False, False)

    def test_latencies_and_declared_quantiles_have_histograms(self) -> None:
        metrics = experiment(metrics=[WAIT, SOLVED]).all_metrics.values()
        assert [metric.name for metric in metrics if metric.sketched] == ["latency_ms", "ttft_ms", "wait"]
        assert [metric.name for metric in metrics if metric.reported] == ["wait", "solved"]

    @pytest.mark.parametrize(
        ("metric", "why"),
        [
            ({**WAIT, "quantile": None}, "belongs to kind `quantile`"),
            ({**WAIT, "quantile": 95}, "has to be below 1"),
            ({**SOLVED, "quantile": 0.9}, "belongs to kind `quantile`"),
            ({**WAIT, "level": "unit"}, "level `request`"),
            ({**WAIT, "denominator": "requests"}, "over `reports`"),
            ({**WAIT, "covariate": {"attribute": "age"}}, "no covariate"),
            ({**LATENCY, "under": None}, "belong together"),
            ({**SOLVED, "under": 3}, "belong together"),
            ({**LATENCY, "source": "success"}, "has to be one of .latency_ms"),
            ({**LATENCY, "kind": "mean"}, "kind `proportion`"),
            ({**LATENCY, "level": "unit", "fold": "any"}, "level `request`"),
            ({**LATENCY, "denominator": "units"}, "over `requests`"),
        ],
    )
    def test_what_does_not_go_together_is_refused(self, metric: dict[str, Any], why: str) -> None:
        with pytest.raises(InvalidError, match=why):
            experiment(metrics=[metric])
