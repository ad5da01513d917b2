-- What drives of several machines share: sessions, their locks and what they hold open.

-- Forgets the sessions whose lease has ended, with all they had. What somebody else is just forgetting is left to him.
CREATE OR REPLACE FUNCTION forget_ended() RETURNS VOID LANGUAGE plpgsql AS $$ BEGIN
  DELETE FROM session WHERE id IN (
    SELECT s.id FROM session s WHERE s.until <= (SELECT clock_timestamp()) FOR UPDATE SKIP LOCKED);
END $$;

-- Removes some notices that are older than this, and notes up to where. Whoever did not look for so long is told so.
CREATE OR REPLACE FUNCTION trim_notices(p_kept INTERVAL, p_most BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE v_cut TIMESTAMPTZ := clock_timestamp() - p_kept;
BEGIN
  IF COALESCE((SELECT at FROM notice ORDER BY xid, seq LIMIT 1) >= v_cut, TRUE) THEN RETURN; END IF;
  -- One at a time: the others have nothing to do then.
  PERFORM 1 FROM notice_floor WHERE id = 1 FOR UPDATE SKIP LOCKED;
  IF NOT FOUND THEN RETURN; END IF;
  UPDATE notice_floor SET at = v_cut WHERE id = 1;
  DELETE FROM notice n USING (SELECT o.xid, o.seq FROM notice o ORDER BY o.xid, o.seq LIMIT p_most) AS old
    WHERE n.xid = old.xid AND n.seq = old.seq AND n.at < v_cut;
END $$;

CREATE OR REPLACE FUNCTION begin_session(p_id BYTEA, p_lease BIGINT, p_pid BIGINT, p_since BIGINT, p_since_ns BIGINT, p_sealed BYTEA)
RETURNS VOID LANGUAGE plpgsql AS $$ BEGIN
  PERFORM need_schema();
  PERFORM forget_ended();
  DELETE FROM session WHERE id = p_id;
  INSERT INTO session (id, until, pid, since, since_ns, sealed)
    VALUES (p_id, lease_end(p_lease), p_pid, p_since, p_since_ns, p_sealed);
END $$;

CREATE OR REPLACE FUNCTION renew_session(p_id BYTEA, p_lease BIGINT, OUT kept BOOLEAN, OUT others BOOLEAN, OUT first BOOLEAN) LANGUAGE plpgsql AS $$ BEGIN
  PERFORM need_schema();
  PERFORM forget_ended();
  UPDATE session SET until = lease_end(p_lease) WHERE id = p_id AND until > clock_timestamp();
  kept := FOUND;
  others := EXISTS (SELECT 1 FROM session WHERE id <> p_id AND until > (SELECT clock_timestamp()));
  first := NOT EXISTS (SELECT 1 FROM session WHERE id < p_id AND until > (SELECT clock_timestamp()));
  PERFORM trim_notices(INTERVAL '2 minutes', 10000);
END $$;

CREATE OR REPLACE FUNCTION end_session(p_id BYTEA) RETURNS VOID LANGUAGE plpgsql AS $$ BEGIN
  DELETE FROM session WHERE id = p_id;
END $$;

-- Gives an owner these locks in place of those he has, provided that the node's locks are still those by which it was decided:
-- nobody's row is locked while somebody far away decides. Returns whether it did.
CREATE OR REPLACE FUNCTION set_locks(p_node BIGINT, p_session BYTEA, p_owner BIGINT, p_seen BIGINT[],
  p_kinds BIGINT[], p_modes BIGINT[], p_firsts BIGINT[], p_lasts BIGINT[], p_pids BIGINT[]) RETURNS BOOLEAN LANGUAGE plpgsql AS $$ BEGIN
  PERFORM pg_advisory_xact_lock(hashtextextended(current_schema(), p_node));
  PERFORM 1 FROM session WHERE id = p_session AND until > clock_timestamp() FOR KEY SHARE;
  IF NOT FOUND THEN RAISE EXCEPTION 'the session has ended' USING ERRCODE = 'WF013'; END IF;
  IF p_seen <> ARRAY(SELECT l.id FROM file_lock l JOIN session s ON s.id = l.session AND s.until > clock_timestamp()
      WHERE l.node = p_node ORDER BY l.id) THEN
    RETURN FALSE;
  END IF;
  DELETE FROM file_lock WHERE node = p_node AND session = p_session AND owner = p_owner;
  INSERT INTO file_lock (node, session, owner, kind, mode, first, last, pid)
    SELECT p_node, p_session, p_owner, u.* FROM unnest(p_kinds, p_modes, p_firsts, p_lasts, p_pids) AS u;
  RETURN TRUE;
END $$;

-- Notes what a session has opened for writing and what it has closed. It need not survive the database.
CREATE OR REPLACE FUNCTION note_holds(p_session BYTEA, p_numbers BIGINT[], p_nodes BIGINT[], p_since BIGINT[], p_since_ns BIGINT[],
  p_sealed BYTEA[], p_closed BIGINT[]) RETURNS VOID LANGUAGE plpgsql AS $$ BEGIN
  PERFORM set_config('synchronous_commit', 'off', TRUE);
  PERFORM 1 FROM session WHERE id = p_session AND until > clock_timestamp() FOR KEY SHARE;
  IF NOT FOUND THEN RETURN; END IF;
  INSERT INTO hold (session, number, node, since, since_ns, sealed)
    SELECT p_session, u.* FROM unnest(p_numbers, p_nodes, p_since, p_since_ns, p_sealed) AS u ON CONFLICT (session, number) DO NOTHING;
  DELETE FROM hold WHERE session = p_session AND number = ANY (p_closed);
END $$;
