"""What came of the demo, in plain words. Pure."""

from splitgauge.demo.summary import ExperimentSummary, Summary, checks, replays

__all__ = ["plain_words"]


def plain_words(summary: Summary) -> list[str]:
    """For people, line by line."""
    lines = ["", "What happened"]
    for experiment in summary.experiments:
        words = _experiment_words(experiment, routers=summary.routers)
        lines += ["", f"  {experiment.experiment.title}", *(f"    {line}" for line in words)]
    facts = [*_log_words(summary), *_outside_words(summary), *_replay_words(summary)]
    lines += ["", *(f"  {line}" for line in facts), ""]
    lines += [f"  {'kept  ' if check.held else 'BROKEN'}  {check.promise}" for check in checks(summary)]
    return [*lines, "", f"  {'All of it held' if summary.held else 'NOT all of it held'}, in {summary.seconds:.0f} s."]


def _experiment_words(summary: ExperimentSummary, *, routers: int) -> list[str]:
    decided = summary.decided
    seen = f"{sum(summary.units.values()):,} users and {sum(summary.requests.values()):,} requests"
    if decided is None:
        return [f"Nothing was decided: after {seen} the verdict is '{summary.verdict}'. Both sides go on serving."]
    verb = {"promote": "promoted", "roll_back": "rolled back"}.get(decided.action, decided.action)
    where = "at every router " if routers > 1 else ""
    lines = [
        f"{decided.variant} was {verb} {decided.after_s:.1f} s after the start, after {seen}: {decided.reason}",
        f"Traffic changed {where}{decided.seconds_to_applied:.2f} s after the newest observation of this look.",
    ]
    served = ", ".join(f"{model} {count:,}" for model, count in summary.served_now.most_common())
    before, after = summary.before, summary.after
    what = (
        f"Correct before {100 * before.correct:.1f} %, now {100 * after.correct:.1f} %."
        if decided.action == "promote"
        else f"Success before {100 * before.success:.1f} %, now {100 * after.success:.1f} %."
    )
    return [*lines, f"Requests since then were answered by: {served or 'nobody'}. {what}"]


def _outside_words(summary: Summary) -> list[str]:
    outside = sum(experiment.outside for experiment in summary.experiments)
    slow = f"{outside:,} requests met no variant, since their router did without a log that was slow for a moment."
    return [slow] if outside else []


def _log_words(summary: Summary) -> list[str]:
    traffic, written = summary.traffic, summary.written
    to = f" to {summary.routers} routers" if summary.routers > 1 else ""
    sent = (
        f"{traffic.requests:,} requests from {traffic.users} users{to}, "
        f"{traffic.by_event:,} of them as events in the log"
    )
    reports = f"{traffic.late:,} came late, {traffic.out_of_order:,} out of order, {traffic.twice:,} twice"
    counts = f"{written.assignments:,} assignments, {written.outcomes:,} outcomes ({written.missing:,} missing)"
    return [
        f"Traffic: {sent}; {traffic.failed:,} failed at the faulty endpoint.",
        f"Reports: {traffic.reports:,} sent; {reports}.",
        f"Log: {counts}, {written.reports:,} reports ({written.duplicates:,} duplicates dropped).",
    ]


def _replay_words(summary: Summary) -> list[str]:
    lines: list[str] = []
    for what, replayed in replays(summary):
        again = (
            f"{replayed.analyses_reproduced:,} of {replayed.analyses:,} analyses and "
            f"{replayed.automatic_reproduced} of {replayed.automatic} automatic decisions came out the same"
        )
        rest = f"({replayed.decisions} decisions in all, {replayed.mismatches} mismatches)"
        lines.append(f"Replay of {what} in {replayed.seconds:.1f} s: {replayed.events:,} events; {again} {rest}.")
        lines += [f"Mismatch at {finding}" for finding in replayed.findings]
    return lines
