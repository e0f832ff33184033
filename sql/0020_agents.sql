-- The last report of each device's agent, and what its meter told of its month peaks: an object
-- of {"w", "ts"} by month.
CREATE TABLE agents (
    device_id text PRIMARY KEY,
    reported_ts timestamptz NOT NULL,
    report jsonb NOT NULL,
    peaks jsonb NOT NULL
);
