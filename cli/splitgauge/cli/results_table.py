"""The results of an experiment as tables for people."""

from typing import Any

from splitgauge.cli.output import print_line, print_table

__all__ = ["print_results"]

_VARIANT_COLUMNS = (
    "variant",
    "traffic %",
    "jobs",
    "units",
    "success %",
    "latency ms",
    "p50",
    "p95",
    "p99",
    "tokens",
    "cost $",
    "jobs/s",
    "missing",
    "chance to be best",
)
_COMPARISON_COLUMNS = (
    "challenger",
    "metric",
    "role",
    "engine",
    "effect",
    "from",
    "to",
    "p",
    "chance to be better",
    "units needed",
)


def print_results(results: dict[str, Any]) -> None:
    """Variants, comparisons, guardrails, health, and the verdict in words."""
    print_line(f"{results['name']} ({results['id']}): {results['status']}, winner {results['winner']}")
    print_table(
        _VARIANT_COLUMNS,
        [
            [
                v["name"],
                v["traffic_percent"],
                v["job_count"],
                v["units"],
                v["success_rate"],
                v["avg_latency_ms"],
                *(v["latency_ms"].get(name) for name in ("p50", "p95", "p99")),
                v["total_tokens"],
                v["cost"],
                v["throughput"],
                v["missing"],
                _percent(v["probability_to_be_best"]),
            ]
            for v in results["variants"]
        ],
    )
    if results["comparisons"]:
        print_line("")
        print_table(_COMPARISON_COLUMNS, [_comparison(c, results["planned_looks"]) for c in results["comparisons"]])
    for guardrail in results["guardrails"]:
        print_line(
            f"guardrail {guardrail['metric']} of {guardrail['variant']}: {guardrail['state']}, {guardrail['reason']}"
        )
    health = results["health"]
    if health is not None:
        print_line(f"health: {', '.join([health['state'], *health['problems']])}")
    verdict = results["verdict"]
    print_line(
        f"verdict: {verdict['kind']}, {verdict['reason']}" if verdict is not None else "verdict: no analysis yet"
    )


def _comparison(comparison: dict[str, Any], planned_looks: list[dict[str, Any]]) -> list[object]:
    lower, upper, p = _concluded(comparison, planned_looks)
    if comparison["engine"] == "rare":
        # Of the ratio of two rates of a rare outcome: how many times control's.
        lower, upper = (None if bound is None else f"x {1 + bound:.3g}" for bound in (lower, upper))
    return [
        comparison["variant"],
        comparison["metric"],
        comparison["role"],
        comparison["engine"],
        comparison["effect"],
        lower,
        upper,
        p,
        _percent(comparison["probability_to_beat_control"]),
        comparison["units_needed"],
    ]


def _concluded(comparison: dict[str, Any], planned_looks: list[dict[str, Any]]) -> tuple[Any, Any, Any]:
    """Interval and p of what the engine concludes from: the last planned look, if it has them, else the sequence."""
    if comparison["engine"] in {"fixed", "group_sequential"}:
        for look in reversed(planned_looks):
            result = look["results"].get(comparison["variant"])
            if result is not None:
                return result["lower"], result["upper"], result["adjusted_p"]
        return None, None, None
    p = comparison["sequential_p"] if comparison["adjusted_p"] is None else comparison["adjusted_p"]
    return comparison["sequential_lower"], comparison["sequential_upper"], p


def _percent(share: float | None) -> str | None:
    return None if share is None else f"{100 * share:.3g} %"
