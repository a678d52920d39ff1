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
)
_COMPARISON_COLUMNS = (
    "challenger",
    "metric",
    "role",
    "effect",
    "from",
    "to",
    "p (always valid)",
    "better by chance",
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
            ]
            for v in results["variants"]
        ],
    )
    if results["comparisons"]:
        print_line("")
        print_table(_COMPARISON_COLUMNS, [_comparison(c) for c in results["comparisons"]])
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


def _comparison(comparison: dict[str, Any]) -> list[object]:
    return [
        comparison["variant"],
        comparison["metric"],
        comparison["role"],
        comparison["effect"],
        comparison["sequential_lower"],
        comparison["sequential_upper"],
        comparison["sequential_p"],
        comparison["probability_to_beat_control"],
        comparison["units_needed"],
    ]
