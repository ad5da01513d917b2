-- Schema 2: who else is there, and what they are told. None of it is journalled. Leases are by the database's clock, those of saves too.

ALTER TABLE intent ADD COLUMN until TIMESTAMPTZ;
UPDATE intent SET until = to_timestamp(lease);
ALTER TABLE intent ALTER COLUMN until SET NOT NULL, DROP COLUMN lease, DROP COLUMN lease_ns;
CREATE INDEX intent_until ON intent (until);
DROP FUNCTION IF EXISTS begin_save(BYTEA, BIGINT, BIGINT, BYTEA);
DROP FUNCTION IF EXISTS extend_save(BYTEA, BIGINT, BIGINT, BYTEA);
DROP FUNCTION IF EXISTS claim_save(BYTEA, BYTEA, BIGINT, BIGINT);

CREATE TABLE session (
  id BYTEA PRIMARY KEY, until TIMESTAMPTZ NOT NULL, pid BIGINT NOT NULL, since BIGINT NOT NULL, since_ns BIGINT NOT NULL, sealed BYTEA NOT NULL);
CREATE INDEX session_until ON session (until);

-- Numbers are given out in another order than transactions are committed in. So a reader asks for the notices of those transactions that
-- were not over when it last looked, and a notice stands under its transaction. Every change is told, whether or not anybody is
-- there to hear it: whoever joins would otherwise miss what was under way just then, and a row that all look at would make all wait.
CREATE TABLE notice (
  xid XID8 NOT NULL DEFAULT pg_current_xact_id(), seq BIGINT GENERATED ALWAYS AS IDENTITY (CACHE 1),
  at TIMESTAMPTZ NOT NULL DEFAULT clock_timestamp(), origin BYTEA NOT NULL, node BIGINT NOT NULL, tag BYTEA, sealed BYTEA, removed BIGINT,
  PRIMARY KEY (xid, seq));
-- What was written before this moment may have been removed.
CREATE TABLE notice_floor (id BIGINT PRIMARY KEY, at TIMESTAMPTZ NOT NULL);
INSERT INTO notice_floor (id, at) VALUES (1, '-infinity');

CREATE TABLE file_lock (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, node BIGINT NOT NULL, session BYTEA NOT NULL REFERENCES session ON DELETE CASCADE,
  owner BIGINT NOT NULL, kind BIGINT NOT NULL, mode BIGINT NOT NULL, first BIGINT NOT NULL, last BIGINT NOT NULL, pid BIGINT NOT NULL);
CREATE INDEX file_lock_node ON file_lock (node, id);
CREATE INDEX file_lock_session ON file_lock (session);

CREATE TABLE hold (
  session BYTEA NOT NULL REFERENCES session ON DELETE CASCADE, number BIGINT NOT NULL, node BIGINT NOT NULL,
  since BIGINT NOT NULL, since_ns BIGINT NOT NULL, sealed BYTEA NOT NULL,
  PRIMARY KEY (session, number));
CREATE INDEX hold_node ON hold (node);

-- `warifu.session` is set on each connection.
CREATE OR REPLACE FUNCTION tell(p_node BIGINT, p_tag BYTEA, p_sealed BYTEA, p_removed BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO notice (origin, node, tag, sealed, removed)
    VALUES (decode(COALESCE(current_setting('warifu.session', TRUE), ''), 'hex'), p_node, p_tag, p_sealed, p_removed);
END $$;

CREATE OR REPLACE FUNCTION tell_node() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
  PERFORM tell(NEW.id, NULL, NULL, NULL);
  RETURN NULL;
END $$;

-- At the end of the transaction: only then is it known whether a node was left without a name.
CREATE OR REPLACE FUNCTION tell_entry() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
  IF TG_OP = 'INSERT' THEN
    PERFORM tell(NEW.parent, NEW.tag, NEW.sealed, NULL);
  ELSE
    PERFORM tell(OLD.parent, OLD.tag, OLD.sealed,
      CASE WHEN EXISTS (SELECT 1 FROM node WHERE id = OLD.node AND nlink > 0) THEN NULL ELSE OLD.node END);
  END IF;
  RETURN NULL;
END $$;

CREATE TRIGGER tells AFTER UPDATE ON node FOR EACH ROW EXECUTE FUNCTION tell_node();
CREATE CONSTRAINT TRIGGER tells AFTER INSERT OR UPDATE OR DELETE ON entry DEFERRABLE INITIALLY DEFERRED
  FOR EACH ROW EXECUTE FUNCTION tell_entry();
