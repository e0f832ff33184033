-- What is wrong with a device, since when, and the messages about it.

-- A row without opened_ts has not held long enough yet; of each rule and device one is not closed.
CREATE TABLE alerts (
    device_id text NOT NULL,
    rule text NOT NULL,
    since_ts timestamptz NOT NULL,
    opened_ts timestamptz,
    closing_ts timestamptz,  -- since when its end holds
    closed_ts timestamptz,
    text text,
    value double precision,
    detail jsonb NOT NULL DEFAULT '{}',
    message_id uuid,
    message_ts timestamptz,
    PRIMARY KEY (device_id, rule, since_ts)
);
CREATE UNIQUE INDEX alerts_not_closed ON alerts (device_id, rule) WHERE closed_ts IS NULL;

-- One row for each device that a message names; `waiting` are the channels that have not taken it.
CREATE TABLE alert_messages (
    device_id text NOT NULL,
    message_id uuid NOT NULL,
    created_ts timestamptz NOT NULL,
    title text NOT NULL,
    text text NOT NULL,
    channels integer NOT NULL,
    waiting text[] NOT NULL,
    PRIMARY KEY (device_id, message_id)
);
CREATE INDEX alert_messages_waiting ON alert_messages (created_ts) WHERE waiting <> '{}';

-- What each agent counted when it was looked at last.
CREATE TABLE alert_counters (
    device_id text PRIMARY KEY,
    set_aside_count bigint NOT NULL,
    dropped bigint NOT NULL,
    lost bigint NOT NULL
);
