-- The indexes of samples as new databases have them. A device's samples come in order of time, so their
-- new pages need no room for what comes between.
DO $$ BEGIN  -- one by one, for Citus
    ALTER INDEX sungrow_samples_pkey SET (fillfactor = 100);
    ALTER INDEX p1_samples_pkey SET (fillfactor = 100);
END $$;
