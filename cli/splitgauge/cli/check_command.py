"""`splitgauge check`: whether a cluster is as it has to be, and how to mend it. Changes nothing, and needs no role."""

from collections import Counter
from time import time
from typing import TYPE_CHECKING

from splitgauge.cli.failures import EXIT_FAILURE, guarded
from splitgauge.cli.interrupts import run
from splitgauge.cli.options import AsJson, Bootstrap, ConfigFile, TopicPrefix
from splitgauge.cli.output import print_json, print_line

if TYPE_CHECKING:
    from splitgauge.cluster.finding import Finding

__all__ = ["check_command"]


@guarded
def check_command(
    config: ConfigFile = None,
    as_json: AsJson = False,
    bootstrap: Bootstrap = None,
    topic_prefix: TopicPrefix = None,
) -> int:
    """Look at brokers, topics, groups, database, versions and clocks, and say what is wrong and how to mend it.

    Status 1 where something failed: a role would not start, or would stop or lose something. Warnings leave it 0.
    """
    from splitgauge.cli.settings import load
    from splitgauge.cluster.checks import Checked, check_cluster
    from splitgauge.cluster.finding import Outcome

    settings = load(config, kafka_bootstrap=bootstrap, kafka_topic_prefix=topic_prefix)
    checked = Checked(
        kafka=lambda: (
            settings.kafka(),
            settings.topic_plan(observation_partitions=settings.observation_partitions),
        ),
        postgres=settings.postgres,
        data_folder=settings.data_folder,
        unit_key=settings.unit_key,
    )
    findings = run(check_cluster(checked, now_s=time))
    if as_json:
        print_json({"findings": findings})
    else:
        _tell(findings)
    return EXIT_FAILURE if any(finding.outcome is Outcome.FAILED for finding in findings) else 0


def _tell(findings: "list[Finding]") -> None:
    for finding in findings:
        print_line(f"{finding.outcome:<8} {finding.check:<12} {finding.subject}: {finding.message}")
        if finding.remedy:
            print_line(f"{'':8} {'':12} {finding.remedy}")
    counts = Counter(finding.outcome for finding in findings)
    print_line(", ".join(f"{outcome}: {count}" for outcome, count in counts.items()))
