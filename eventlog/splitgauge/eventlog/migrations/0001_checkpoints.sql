-- Where folds keep their state. A row changes with every checkpoint that its unit has moved in: pages that are half
-- empty take the new version beside the old one (a HOT update), and the index stays as it is.
CREATE TABLE splitgauge.checkpoints (
    number bigint GENERATED ALWAYS AS IDENTITY UNIQUE,
    owner text PRIMARY KEY,
    position bigint NOT NULL CHECK (position >= 0)
);

CREATE TABLE splitgauge.checkpoint_rows (
    number bigint NOT NULL,
    key bytea NOT NULL,
    value bytea NOT NULL,
    PRIMARY KEY (number, key)
) PARTITION BY HASH (number);

DO $$
BEGIN
    FOR remainder IN 0..15 LOOP
        EXECUTE format(
            'CREATE TABLE splitgauge.checkpoint_rows_%s PARTITION OF splitgauge.checkpoint_rows
                FOR VALUES WITH (MODULUS 16, REMAINDER %s) WITH (fillfactor = 50)',
            remainder, remainder
        );
    END LOOP;
END
$$;
