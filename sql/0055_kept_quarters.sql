-- With the peaks of a month that is over also its quarters, as JSON: of each its start in seconds since
-- 1970, its mean power, its minutes with a sample, and by how many kWh the register rose. Kept anew.

ALTER TABLE p1_kept_peaks ADD COLUMN quarters text;
DELETE FROM p1_kept_peaks;
