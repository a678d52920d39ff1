-- Where folds keep their state: values of some 100 kB, as they are. To compress them would take longer than to write them.
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

ALTER TABLE splitgauge.checkpoint_rows ALTER value SET STORAGE EXTERNAL;

DO $$
BEGIN
    FOR remainder IN 0..15 LOOP
        EXECUTE format(
            'CREATE TABLE splitgauge.checkpoint_rows_%s PARTITION OF splitgauge.checkpoint_rows
                FOR VALUES WITH (MODULUS 16, REMAINDER %s)',
            remainder, remainder
        );
    END LOOP;
END
$$;
