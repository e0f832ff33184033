-- requires: no timescaledb, citus
-- Put in its place, what is asked of one device would be one statement for devices on several nodes,
-- which is refused. Volatile functions stay by themselves: each goes to the node of its device.
ALTER FUNCTION sungrow_newest_of(text, timestamptz, timestamptz) VOLATILE;
ALTER FUNCTION p1_newest_of(text, timestamptz, timestamptz) VOLATILE;
ALTER FUNCTION p1_most_of(text, timestamptz) VOLATILE;
