"""How far another clock may be from ours. Pure."""

from splitgauge.cluster.finding import Finding

__all__ = ["clock_finding"]

WARNS_S = 1.0
"""Machines that keep time at all are within milliseconds."""
FAILS_S = 60.0
"""Charts count by the minute, and after 15 minutes an answer counts as missing."""
_REMEDY = "Let NTP set the clocks of all machines; this one's may be the wrong one"


def clock_finding(subject: str, ahead_s: float) -> Finding:
    """`ahead_s`: of ours; 0 where no difference can be seen."""
    if abs(ahead_s) < WARNS_S:
        return Finding.ok("clock", subject, f"within {WARNS_S:g} s of this machine's")
    message = f"{abs(ahead_s):.1f} s {'ahead of' if ahead_s > 0 else 'behind'} this machine's"
    tell = Finding.warning if abs(ahead_s) < FAILS_S else Finding.failed
    return tell("clock", subject, message, _REMEDY)
