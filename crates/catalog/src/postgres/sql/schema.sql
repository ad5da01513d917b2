-- Every change asks for this first. A program of before the last upgrade that still has the catalogue open would otherwise go on
-- leaving out what is new, since the functions that it calls may be there as before.
CREATE OR REPLACE FUNCTION need_schema() RETURNS VOID LANGUAGE plpgsql AS $$ BEGIN
  IF current_setting('warifu.schema', TRUE) IS DISTINCT FROM '{SCHEMA}' THEN RAISE EXCEPTION '{SCHEMA}' USING ERRCODE = 'WF014'; END IF;
END $$;
