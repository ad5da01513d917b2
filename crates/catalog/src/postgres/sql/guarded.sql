-- Changes are refused to programs of another schema, and what was told long ago is removed by whoever changes something. Only
-- functions are new.
DROP FUNCTION IF EXISTS trim_notices(INTERVAL);
