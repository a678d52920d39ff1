-- The events of the topics that are kept. One table a topic, with an index of its own that leaves the topic out.
CREATE TABLE splitgauge.archive (
    topic text COLLATE "C" NOT NULL,
    partition integer NOT NULL,
    "offset" bigint NOT NULL,
    key bytea,
    value bytea NOT NULL
) PARTITION BY LIST (topic);

CREATE TABLE splitgauge.archive_decisions
    PARTITION OF splitgauge.archive (PRIMARY KEY (partition, "offset")) FOR VALUES IN ('splitgauge.decisions');
CREATE TABLE splitgauge.archive_observations
    PARTITION OF splitgauge.archive (PRIMARY KEY (partition, "offset")) FOR VALUES IN ('splitgauge.observations');
CREATE TABLE splitgauge.archive_analyses
    PARTITION OF splitgauge.archive (PRIMARY KEY (partition, "offset")) FOR VALUES IN ('splitgauge.analyses');
CREATE TABLE splitgauge.archive_dead_letters
    PARTITION OF splitgauge.archive (PRIMARY KEY (partition, "offset")) FOR VALUES IN ('splitgauge.dead-letters');

-- How far each partition is archived. Events in [first, copied) are there; readers see [first, complete), which moves
-- for all topics at once, so that whatever an event refers to is there for them, too.
CREATE TABLE splitgauge.archive_positions (
    topic text COLLATE "C" NOT NULL,
    partition integer NOT NULL CHECK (partition >= 0),
    first bigint NOT NULL CHECK (first >= 0),
    copied bigint NOT NULL,
    complete bigint NOT NULL,
    PRIMARY KEY (topic, partition),
    CHECK (first <= complete AND complete <= copied)
);
