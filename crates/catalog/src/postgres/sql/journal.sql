-- The audit log's end, and the journal.

CREATE OR REPLACE FUNCTION record_lines(p_lines BYTEA[], p_sealed BYTEA[], p_soon BOOLEAN) RETURNS VOID LANGUAGE plpgsql AS $$ BEGIN
  IF p_soon THEN PERFORM set_config('synchronous_commit', 'off', TRUE); END IF;
  INSERT INTO arrived (line, sealed) SELECT u.line, u.sealed FROM unnest(p_lines, p_sealed) WITH ORDINALITY AS u (line, sealed, no) ORDER BY u.no;
END $$;

-- Gives lines that arrived their numbers and chain values. Whoever calls it holds the row of `tail`.
CREATE OR REPLACE FUNCTION chain_lines(p_arrivals BIGINT[], p_sealed BYTEA[], p_first BIGINT, p_chains BYTEA[]) RETURNS VOID LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO audit (seq, line, sealed, chain)
  SELECT p_first + u.no - 1, a.line, COALESCE(u.sealed, a.sealed), u.chain
  FROM unnest(p_arrivals, p_sealed, p_chains) WITH ORDINALITY AS u (arrival, sealed, chain, no) JOIN arrived a ON a.arrival = u.arrival;
  DELETE FROM arrived WHERE arrival = ANY (p_arrivals);
  UPDATE tail SET seq = p_first + cardinality(p_arrivals) - 1, chain = p_chains[cardinality(p_chains)] WHERE id = 1;
END $$;

-- Returns the extents that a finished checkpoint makes useless. A mark that somebody is just making anew is left alone: its row was
-- told, and will be told again.
CREATE OR REPLACE FUNCTION journalled(p_save BYTEA, p_marks BIGINT[], p_audited BIGINT, p_archived BIGINT, p_finished BOOLEAN,
  p_begin BIGINT, p_parts BYTEA[],
  p_ids BYTEA[], p_kinds BIGINT[], p_numbers BIGINT[], p_lens BIGINT[], p_ks BIGINT[], p_ns BIGINT[],
  p_schemes BIGINT[], p_generations BIGINT[], p_documents BYTEA[], p_versions BIGINT[], p_owed BYTEA[])
RETURNS TABLE (gone BYTEA, gone_generation BIGINT) LANGUAGE plpgsql AS $$
DECLARE v_next BIGINT;
BEGIN
  SELECT next INTO v_next FROM journal WHERE id = 1 FOR UPDATE;
  IF EXISTS (SELECT 1 FROM unnest(p_versions) WITH ORDINALITY AS u (version, no) WHERE u.version <> v_next + u.no - 1) THEN
    RAISE EXCEPTION '%', v_next USING ERRCODE = 'WF008';
  END IF;
  PERFORM take_intent(p_save);
  PERFORM insert_extents(p_ids, p_kinds, p_numbers, p_lens, p_ks, p_ns, p_schemes, p_generations, p_documents, p_versions, p_owed);
  UPDATE journal SET next = next + cardinality(p_ids), audited = GREATEST(audited, p_audited), archived = GREATEST(archived, p_archived),
    tip = COALESCE(p_ids[cardinality(p_ids)], tip) WHERE id = 1;
  DELETE FROM changed WHERE seq IN (SELECT c.seq FROM changed c WHERE c.seq = ANY (p_marks) FOR UPDATE SKIP LOCKED);
  IF NOT p_finished THEN RETURN; END IF;
  IF EXISTS (SELECT 1 FROM unnest(p_parts) AS u (id) WHERE NOT EXISTS (SELECT 1 FROM extent e WHERE e.id = u.id)) THEN
    RAISE EXCEPTION 'part of the checkpoint' USING ERRCODE = 'WF001';
  END IF;
  UPDATE journal SET whole = 1 WHERE id = 1;
  RETURN QUERY DELETE FROM extent e WHERE e.kind = 3 AND e.number IN (0, 1) AND e.version < p_begin RETURNING e.id, e.generation;
END $$;

CREATE OR REPLACE FUNCTION decide(p_line BYTEA, p_audit BYTEA) RETURNS VOID LANGUAGE plpgsql AS $$ BEGIN
  UPDATE journal SET undecided = 0 WHERE id = 1 AND undecided <> 0;
  PERFORM line(p_line, p_audit);
END $$;
