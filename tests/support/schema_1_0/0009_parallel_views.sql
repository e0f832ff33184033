-- requires: no continuous aggregates
-- run again: for another zone
-- What reads years of samples may use every core.
ALTER FUNCTION sungrow_around(text, timestamptz, timestamptz) PARALLEL SAFE;
ALTER FUNCTION p1_around(text, timestamptz, timestamptz) PARALLEL SAFE;
