"""A whole experiment with real models on one machine, from request to replay."""

__all__ = ["run"]


def run(*, json_output: bool, keep: bool, seed: int, requests: int, cluster: bool) -> int:
    """Run the demo; its exit status: 0 where all of it held, 1 where not, 130 after Ctrl-C.

    Args:
        json_output: the summary as one JSON document on the standard output; progress goes to the standard error.
        keep: go on serving after the summary, until Ctrl-C.
        seed: of the images, the models and the traffic.
        requests: how many the upstream application sends.
        cluster: on Kafka and PostgreSQL, with a process for each role, in place of one process on the embedded log.
    Raises: ContractError where scikit-learn is missing, or what a cluster is made of; UpstreamError where a part of
        the demo fails.
    """
    # Not at the top: the demo's own processes run modules of this package, and would wait for all of it.
    from splitgauge.demo.play import Options, play

    return play(Options(json_output=json_output, keep=keep, seed=seed, requests=requests, cluster=cluster))
