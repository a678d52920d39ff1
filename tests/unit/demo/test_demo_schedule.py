"""The shape of the traffic."""

from collections import Counter
from itertools import pairwise

from splitgauge.demo.experiments import EXPERIMENTS
from splitgauge.demo.schedule import USERS, probes, schedule

REQUESTS = list(schedule(seed=7, requests=10_500, images=900))


def test_a_schedule_is_a_function_of_its_seed() -> None:
    assert list(schedule(seed=7, requests=10_500, images=900)) == REQUESTS
    assert list(schedule(seed=8, requests=10_500, images=900)) != REQUESTS


def test_numbers_follow_and_times_rise() -> None:
    assert [request.number for request in REQUESTS] == list(range(10_500))
    assert all(before.at_s <= after.at_s for before, after in pairwise(REQUESTS))
    assert next(schedule(seed=7, requests=1, images=900, first=100)).number == 100


def test_some_600_users_come_and_are_very_unequal() -> None:
    activity = sorted(Counter(request.user for request in REQUESTS).values(), reverse=True)
    assert 560 <= len(activity) <= USERS
    assert sum(activity[: len(activity) // 10]) > 0.35 * len(REQUESTS)
    assert activity[len(activity) // 2] < 15


def test_every_workload_gets_its_share() -> None:
    counts = Counter(request.workload for request in REQUESTS)
    for experiment in EXPERIMENTS:
        assert abs(counts[experiment.base] / len(REQUESTS) - experiment.share) < 0.02


def test_most_requests_go_over_http_and_a_part_through_the_log() -> None:
    assert 0.08 < sum(request.by_event for request in REQUESTS) / len(REQUESTS) < 0.12


def test_some_reports_are_late_some_come_twice_and_every_request_has_one() -> None:
    assert {len(request.report_after_s) for request in REQUESTS} == {1, 2}
    assert 0.05 < sum(request.late for request in REQUESTS) / len(REQUESTS) < 0.12
    again = [request.report_after_s for request in REQUESTS if len(request.report_after_s) == 2]
    assert all(first < second for first, second in again)
    assert 0.03 < len(again) / len(REQUESTS) < 0.07


def test_probes_are_of_different_users_over_http_without_reports() -> None:
    asked = list(probes("cheques", requests=5, images=3, first=10))
    assert [request.number for request in asked] == [10, 11, 12, 13, 14]
    assert len({request.user for request in asked}) == 5
    assert not any(request.by_event or request.report_after_s or request.late for request in asked)
    assert asked[0].at_s == 0
