-- Schema 2: who else is there, and what they are told. None of it is journalled. Leases are by the database's clock.

CREATE TABLE session (
  id BYTEA PRIMARY KEY, until TIMESTAMPTZ NOT NULL, pid BIGINT NOT NULL, since BIGINT NOT NULL, since_ns BIGINT NOT NULL, sealed BYTEA NOT NULL);

-- Numbers are given out in another order than transactions are committed in. So a notice stands under its transaction, and is read when every
-- transaction up to that one has ended.
CREATE TABLE notice (
  xid BIGINT NOT NULL, seq BIGINT GENERATED ALWAYS AS IDENTITY (CACHE 1), origin BYTEA NOT NULL,
  node BIGINT NOT NULL, tag BYTEA, sealed BYTEA, removed BIGINT,
  PRIMARY KEY (xid, seq));
-- What was removed of them: up to which transaction.
CREATE TABLE notice_floor (id BIGINT PRIMARY KEY, xid BIGINT NOT NULL);
INSERT INTO notice_floor (id, xid) VALUES (1, 0);

CREATE TABLE file_lock (
  id BIGINT GENERATED ALWAYS AS IDENTITY PRIMARY KEY, node BIGINT NOT NULL, session BYTEA NOT NULL, owner BIGINT NOT NULL,
  kind BIGINT NOT NULL, mode BIGINT NOT NULL, first BIGINT NOT NULL, last BIGINT NOT NULL, pid BIGINT NOT NULL);
CREATE INDEX file_lock_node ON file_lock (node);
CREATE INDEX file_lock_session ON file_lock (session);

CREATE TABLE hold (
  session BYTEA NOT NULL, number BIGINT NOT NULL, node BIGINT NOT NULL, since BIGINT NOT NULL, since_ns BIGINT NOT NULL, sealed BYTEA NOT NULL,
  PRIMARY KEY (session, number));
CREATE INDEX hold_node ON hold (node);

-- `warifu.session` is set on each connection.
CREATE OR REPLACE FUNCTION tell(p_node BIGINT, p_tag BYTEA, p_sealed BYTEA, p_removed BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE me BYTEA := decode(coalesce(current_setting('warifu.session', true), ''), 'hex');
BEGIN
  IF EXISTS (SELECT 1 FROM session WHERE id <> me) THEN
    INSERT INTO notice (xid, origin, node, tag, sealed, removed)
      VALUES (pg_current_xact_id()::text::bigint, me, p_node, p_tag, p_sealed, p_removed);
    PERFORM pg_notify('warifu_' || md5(current_schema()), '');
  END IF;
END $$;

CREATE OR REPLACE FUNCTION tell_node() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
  PERFORM tell(NEW.id, NULL, NULL, NULL);
  RETURN NULL;
END $$;

-- At the end of the transaction: only then is it known which node is left without a name.
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
