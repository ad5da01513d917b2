-- Saving: the intent, and the one switch that makes a version current.

-- The end of a lease of so many milliseconds that begins now: by the database's clock, whatever the machines think what time it is.
CREATE OR REPLACE FUNCTION lease_end(p_lease BIGINT) RETURNS TIMESTAMPTZ LANGUAGE plpgsql AS $$ BEGIN
  RETURN clock_timestamp() + p_lease * INTERVAL '1 millisecond';
END $$;

CREATE OR REPLACE FUNCTION begin_save(p_save BYTEA, p_lease BIGINT, p_extents BYTEA) RETURNS VOID LANGUAGE plpgsql AS $$ BEGIN
  PERFORM need_schema();
  INSERT INTO intent (save, until, extents) VALUES (p_save, lease_end(p_lease), p_extents) ON CONFLICT (save) DO NOTHING;
  IF NOT FOUND THEN RAISE EXCEPTION 'taken' USING ERRCODE = 'WF002'; END IF;
END $$;

-- The same, without waiting for the database's disk. What makes the version current waits, and is on the disk behind it; where both are lost
-- with the database's memory, it finds no intent, and the save begins anew.
CREATE OR REPLACE FUNCTION begin_save_soon(p_save BYTEA, p_lease BIGINT, p_extents BYTEA) RETURNS VOID LANGUAGE plpgsql AS $$ BEGIN
  PERFORM set_config('synchronous_commit', 'off', TRUE);
  PERFORM begin_save(p_save, p_lease, p_extents);
END $$;

CREATE OR REPLACE FUNCTION extend_save(p_save BYTEA, p_lease BIGINT, p_extents BYTEA) RETURNS VOID LANGUAGE plpgsql AS $$ BEGIN
  PERFORM set_config('synchronous_commit', 'off', TRUE);
  UPDATE intent SET until = lease_end(p_lease) WHERE save = p_save;
  IF NOT FOUND THEN RAISE EXCEPTION 'lapsed' USING ERRCODE = 'WF009'; END IF;
  IF length(p_extents) > 0 THEN INSERT INTO intent_more (save, extents) VALUES (p_save, p_extents); END IF;
END $$;

CREATE OR REPLACE FUNCTION end_save(p_save BYTEA) RETURNS BOOLEAN LANGUAGE plpgsql AS $$ BEGIN
  DELETE FROM intent WHERE save = p_save;
  IF NOT FOUND THEN RETURN FALSE; END IF;
  DELETE FROM intent_more WHERE save = p_save;
  RETURN TRUE;
END $$;

CREATE OR REPLACE FUNCTION take_intent(p_save BYTEA) RETURNS VOID LANGUAGE plpgsql AS $$ BEGIN
  IF NOT end_save(p_save) THEN RAISE EXCEPTION 'lapsed' USING ERRCODE = 'WF009'; END IF;
END $$;

-- What of an intent's list the catalogue does not need: 20 bytes for each extent, its id and the generation, little endian.
CREATE OR REPLACE FUNCTION unneeded(p_list BYTEA) RETURNS BYTEA LANGUAGE plpgsql AS $$ BEGIN
  RETURN COALESCE((SELECT string_agg(substr(p_list, i * 20 + 1, 20), ''::bytea ORDER BY i) FROM generate_series(0, length(p_list) / 20 - 1) AS i
    WHERE NOT EXISTS (SELECT 1 FROM extent e WHERE e.id = substr(p_list, i * 20 + 1, 16) AND e.generation =
      get_byte(p_list, i * 20 + 16) + get_byte(p_list, i * 20 + 17) * 256 + get_byte(p_list, i * 20 + 18) * 65536
        + get_byte(p_list, i * 20 + 19)::bigint * 16777216)), ''::bytea);
END $$;

-- Gives an intent another name and lease, and drops from it what the catalogue needs. Returns its extents; null when it is not there.
CREATE OR REPLACE FUNCTION claim_save(p_save BYTEA, p_claimant BYTEA, p_lease BIGINT) RETURNS BYTEA
LANGUAGE plpgsql AS $$
DECLARE v_extents BYTEA; v_left BYTEA;
BEGIN
  UPDATE intent SET save = p_claimant, until = lease_end(p_lease) WHERE save = p_save RETURNING extents INTO v_extents;
  IF NOT FOUND THEN RETURN NULL; END IF;
  UPDATE intent_more SET save = p_claimant WHERE save = p_save;
  v_extents := v_extents || COALESCE((SELECT string_agg(extents, ''::bytea ORDER BY id) FROM intent_more WHERE save = p_claimant), ''::bytea);
  v_left := unneeded(v_extents);
  IF v_left <> v_extents THEN
    UPDATE intent SET extents = v_left WHERE save = p_claimant;
    DELETE FROM intent_more WHERE save = p_claimant;
  END IF;
  RETURN v_left;
END $$;

CREATE OR REPLACE FUNCTION set_generations(p_current BIGINT, p_wanted BIGINT, p_begun BIGINT, p_begun_ns BIGINT, p_ended BIGINT,
  p_ended_ns BIGINT, b_current BIGINT, b_wanted BIGINT, b_begun BIGINT, b_begun_ns BIGINT, b_ended BIGINT, b_ended_ns BIGINT,
  p_line BYTEA, p_audit BYTEA) RETURNS VOID LANGUAGE plpgsql AS $$ BEGIN
  UPDATE generation SET current = p_current, wanted = p_wanted, begun = p_begun, begun_ns = p_begun_ns, ended = p_ended, ended_ns = p_ended_ns
    WHERE id = 1 AND current = b_current AND wanted = b_wanted AND begun IS NOT DISTINCT FROM b_begun
      AND begun_ns IS NOT DISTINCT FROM b_begun_ns AND ended IS NOT DISTINCT FROM b_ended AND ended_ns IS NOT DISTINCT FROM b_ended_ns;
  IF NOT FOUND THEN RAISE EXCEPTION 'lapsed' USING ERRCODE = 'WF009'; END IF;
  PERFORM line(p_line, p_audit);
END $$;

-- Writes the layout of a document's next version: only the places that differ from the one before. Arrays are thought to be short when it is
-- planned, and to compare each place with each would take a file of 100 GB longer than a statement may.
CREATE OR REPLACE FUNCTION supersede(p_document BYTEA, p_version BIGINT, p_places BIGINT[], p_extents BYTEA[]) RETURNS VOID
LANGUAGE plpgsql SET enable_nestloop = off AS $$ BEGIN
  UPDATE layout l SET until_version = p_version WHERE l.document = p_document AND l.until_version IS NULL
    AND NOT EXISTS (SELECT 1 FROM unnest(p_places, p_extents) AS u (no, extent) WHERE u.no = l.no AND u.extent = l.extent);
  INSERT INTO layout (document, no, from_version, until_version, extent)
  SELECT p_document, u.no, p_version, NULL, u.extent FROM unnest(p_places, p_extents) AS u (no, extent)
  WHERE NOT EXISTS (SELECT 1 FROM layout l WHERE l.document = p_document AND l.no = u.no AND l.until_version IS NULL);
END $$;

CREATE OR REPLACE FUNCTION insert_extents(p_ids BYTEA[], p_kinds BIGINT[], p_numbers BIGINT[], p_lens BIGINT[], p_ks BIGINT[], p_ns BIGINT[],
  p_schemes BIGINT[], p_generations BIGINT[], p_documents BYTEA[], p_versions BIGINT[], p_owed BYTEA[]) RETURNS VOID
LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO extent (id, kind, number, len, k, n, scheme, generation, document, version, owed)
  SELECT * FROM unnest(p_ids, p_kinds, p_numbers, p_lens, p_ks, p_ns, p_schemes, p_generations, p_documents, p_versions, p_owed);
END $$;

-- Makes what was saved the next version of a locked file.
CREATE OR REPLACE FUNCTION install(p_node node, p_size BIGINT, p_mtime BIGINT, p_mtime_ns BIGINT, p_saved BIGINT, p_saved_ns BIGINT,
  p_author BYTEA, p_head BYTEA, p_extents BIGINT, p_settled BIGINT, p_places BIGINT[], p_layout BYTEA[],
  p_ids BYTEA[], p_kinds BIGINT[], p_numbers BIGINT[], p_lens BIGINT[], p_ks BIGINT[], p_ns BIGINT[],
  p_schemes BIGINT[], p_generations BIGINT[], p_documents BYTEA[], p_versions BIGINT[], p_owed BYTEA[]) RETURNS node
LANGUAGE plpgsql AS $$
DECLARE r node; v_next BIGINT := p_node.version + 1;
BEGIN
  PERFORM insert_extents(p_ids, p_kinds, p_numbers, p_lens, p_ks, p_ns, p_schemes, p_generations, p_documents, p_versions, p_owed);
  IF EXISTS (SELECT 1 FROM unnest(p_layout || p_head) AS u (id) WHERE u.id IS NOT NULL
      AND NOT EXISTS (SELECT 1 FROM extent e WHERE e.id = u.id)) THEN
    RAISE EXCEPTION 'extent' USING ERRCODE = 'WF001';
  END IF;
  PERFORM supersede(p_node.document, v_next, p_places, p_layout);
  INSERT INTO version (document, number, size, mtime, mtime_ns, saved, saved_ns, sealed, head, extents, settled)
  VALUES (p_node.document, v_next, p_size, p_mtime, p_mtime_ns, p_saved, p_saved_ns, p_author, p_head, p_extents, p_settled);
  UPDATE node SET size = p_size, mtime = p_mtime, mtime_ns = p_mtime_ns, ctime = p_saved, ctime_ns = p_saved_ns,
    version = v_next, head = p_head WHERE id = p_node.id RETURNING * INTO r;
  RETURN r;
END $$;

CREATE OR REPLACE FUNCTION need_file(p_kind BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$ BEGIN
  IF p_kind = 2 THEN RAISE EXCEPTION 'a folder' USING ERRCODE = 'WF005'; END IF;
  IF p_kind <> 1 THEN RAISE EXCEPTION 'file' USING ERRCODE = 'WF001'; END IF;
END $$;

CREATE OR REPLACE FUNCTION newest(p_document BYTEA) RETURNS BIGINT LANGUAGE plpgsql AS $$ BEGIN
  RETURN COALESCE((SELECT number FROM version WHERE document = p_document ORDER BY number DESC LIMIT 1), 0);
END $$;

CREATE OR REPLACE FUNCTION commit_save(p_node BIGINT, p_base BYTEA, p_save BYTEA, p_line BYTEA, p_audit BYTEA,
  p_size BIGINT, p_mtime BIGINT, p_mtime_ns BIGINT, p_saved BIGINT, p_saved_ns BIGINT,
  p_author BYTEA, p_head BYTEA, p_extents BIGINT, p_settled BIGINT, p_places BIGINT[], p_layout BYTEA[],
  p_ids BYTEA[], p_kinds BIGINT[], p_numbers BIGINT[], p_lens BIGINT[], p_ks BIGINT[], p_ns BIGINT[],
  p_schemes BIGINT[], p_generations BIGINT[], p_documents BYTEA[], p_versions BIGINT[], p_owed BYTEA[]) RETURNS node
LANGUAGE plpgsql AS $$
DECLARE r node; v_newest BIGINT;
BEGIN
  PERFORM take_intent(p_save);
  r := lock_node(p_node);
  PERFORM need_file(r.kind);
  IF r.head IS DISTINCT FROM p_base THEN RAISE EXCEPTION '%', r.version USING ERRCODE = 'WF008'; END IF;
  -- A file that was replaced while it was open still shows its old version, but the document went on without it.
  v_newest := newest(r.document);
  IF v_newest <> r.version THEN RAISE EXCEPTION '%', v_newest USING ERRCODE = 'WF008'; END IF;
  -- Kept for somebody who has it open. It goes with its last handle, and would take the version along.
  IF r.nlink = 0 THEN RAISE EXCEPTION 'node' USING ERRCODE = 'WF001'; END IF;
  r := install(r, p_size, p_mtime, p_mtime_ns, p_saved, p_saved_ns, p_author, p_head, p_extents, p_settled, p_places, p_layout,
    p_ids, p_kinds, p_numbers, p_lens, p_ks, p_ns, p_schemes, p_generations, p_documents, p_versions, p_owed);
  PERFORM line(p_line, p_audit);
  RETURN r;
END $$;

CREATE OR REPLACE FUNCTION commit_new(p_parent BIGINT, p_tag BYTEA, p_name BYTEA, p_kind BIGINT, p_mode BIGINT, p_uid BIGINT, p_gid BIGINT,
  p_rdev BIGINT, p_document BYTEA, p_at BIGINT, p_at_ns BIGINT, p_save BYTEA, p_line BYTEA, p_audit BYTEA,
  p_size BIGINT, p_mtime BIGINT, p_mtime_ns BIGINT, p_saved BIGINT, p_saved_ns BIGINT,
  p_author BYTEA, p_head BYTEA, p_extents BIGINT, p_settled BIGINT, p_places BIGINT[], p_layout BYTEA[],
  p_ids BYTEA[], p_kinds BIGINT[], p_numbers BIGINT[], p_lens BIGINT[], p_ks BIGINT[], p_ns BIGINT[],
  p_schemes BIGINT[], p_generations BIGINT[], p_documents BYTEA[], p_versions BIGINT[], p_owed BYTEA[]) RETURNS node
LANGUAGE plpgsql AS $$
DECLARE r node;
BEGIN
  PERFORM take_intent(p_save);
  PERFORM need_file(p_kind);
  -- A copy is made of a version that may be let go at this moment: what it shares with it is held, or found to be gone.
  PERFORM 1 FROM extent e WHERE e.id = ANY (p_layout) ORDER BY e.id FOR KEY SHARE;
  r := make_node(p_parent, p_tag, p_name, p_kind, p_mode, p_uid, p_gid, p_rdev, 0, p_document, p_at, p_at_ns);
  r := install(r, p_size, p_mtime, p_mtime_ns, p_saved, p_saved_ns, p_author, p_head, p_extents, p_settled, p_places, p_layout,
    p_ids, p_kinds, p_numbers, p_lens, p_ks, p_ns, p_schemes, p_generations, p_documents, p_versions, p_owed);
  PERFORM line(p_line, p_audit);
  RETURN r;
END $$;

-- Notes that versions are on disk, and with them every version made of the very same shares by a rename.
CREATE OR REPLACE FUNCTION settle(p_documents BYTEA[], p_numbers BIGINT[]) RETURNS VOID LANGUAGE plpgsql AS $$ BEGIN
  UPDATE version SET settled = 1 WHERE settled = 0
    AND (document, number) IN (SELECT * FROM unnest(p_documents, p_numbers));
  UPDATE version SET settled = 1 WHERE settled = 0 AND head IN (
    SELECT v.head FROM version v JOIN unnest(p_documents, p_numbers) AS u (document, number)
      ON v.document = u.document AND v.number = u.number);
END $$;

CREATE OR REPLACE FUNCTION revert_version(p_document BYTEA, p_number BIGINT, p_at BIGINT, p_ns BIGINT, p_line BYTEA, p_audit BYTEA)
RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE v version; b version; v_newest BIGINT; v_gone BYTEA[];
BEGIN
  PERFORM 1 FROM node WHERE document = p_document ORDER BY id FOR UPDATE;
  SELECT * INTO v FROM version WHERE document = p_document AND number = p_number FOR UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'version' USING ERRCODE = 'WF001'; END IF;
  v_newest := newest(p_document);
  IF v_newest <> p_number THEN RAISE EXCEPTION '%', v_newest USING ERRCODE = 'WF008'; END IF;
  IF v.settled <> 0 THEN RAISE EXCEPTION 'unsettled version' USING ERRCODE = 'WF001'; END IF;
  v_gone := ARRAY(SELECT extent FROM layout WHERE document = p_document AND from_version = p_number) || v.head;
  DELETE FROM layout WHERE document = p_document AND from_version = p_number;
  UPDATE layout SET until_version = NULL WHERE document = p_document AND until_version = p_number;
  DELETE FROM version WHERE document = p_document AND number = p_number;
  -- What no version needs any more is forgotten.
  DELETE FROM extent e WHERE e.id = ANY (v_gone) AND NOT EXISTS (SELECT 1 FROM layout l WHERE l.extent = e.id)
    AND NOT EXISTS (SELECT 1 FROM version w WHERE w.head = e.id);
  SELECT * INTO b FROM version WHERE document = p_document ORDER BY number DESC LIMIT 1;
  UPDATE node SET version = COALESCE(b.number, 0), size = COALESCE(b.size, 0), mtime = COALESCE(b.mtime, p_at),
    mtime_ns = COALESCE(b.mtime_ns, p_ns), head = b.head, ctime = p_at, ctime_ns = p_ns
  WHERE document = p_document AND version = p_number;
  PERFORM line(p_line, p_audit);
  RETURN COALESCE(b.number, 0);
END $$;
