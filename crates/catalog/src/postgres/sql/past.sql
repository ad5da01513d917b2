-- Names in time, and an earlier version made current again. Whoever changes a name holds its folder's row, so the times of one name
-- are in the order of its changes without any row that all write to.

-- The time of a change to a name: not before the name's last change, whatever the clock of the machine that makes it.
CREATE OR REPLACE FUNCTION not_before(p_parent BIGINT, p_tag BYTEA, p_at BIGINT, p_ns BIGINT, OUT t BIGINT, OUT t_ns BIGINT)
LANGUAGE plpgsql AS $$
DECLARE v BIGINT; v_ns BIGINT;
BEGIN
  t := p_at; t_ns := p_ns;
  SELECT CASE WHEN e.since = 0 AND e.since_ns = 0 THEN n.btime ELSE e.since END,
         CASE WHEN e.since = 0 AND e.since_ns = 0 THEN n.btime_ns ELSE e.since_ns END
  INTO v, v_ns FROM entry e JOIN node n ON n.id = e.node WHERE e.parent = p_parent AND e.tag = p_tag;
  IF NOT FOUND THEN
    SELECT until, until_ns INTO v, v_ns FROM past WHERE parent = p_parent AND tag = p_tag ORDER BY until DESC, until_ns DESC LIMIT 1;
  END IF;
  IF FOUND AND (v, v_ns) > (t, t_ns) THEN t := v; t_ns := v_ns; END IF;
END $$;

-- A new name in a locked folder.
CREATE OR REPLACE FUNCTION begin_name(p_parent BIGINT, p_tag BYTEA, p_name BYTEA, p_node BIGINT, p_at BIGINT, p_ns BIGINT) RETURNS VOID
LANGUAGE plpgsql AS $$
DECLARE v BIGINT; v_ns BIGINT;
BEGIN
  SELECT * INTO v, v_ns FROM not_before(p_parent, p_tag, p_at, p_ns);
  INSERT INTO entry (parent, tag, sealed, node, since, since_ns) VALUES (p_parent, p_tag, p_name, p_node, v, v_ns);
END $$;

-- Writes down that a name ends, while its entry still is what it was. What is sealed is taken over as it is. `p_how`: 1 moved,
-- 2 removed, 3 replaced.
CREATE OR REPLACE FUNCTION end_name(p_parent BIGINT, p_tag BYTEA, p_node node, p_until BIGINT, p_until_ns BIGINT, p_how BIGINT) RETURNS VOID
LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO past (parent, tag, sealed, node, kind, mode, uid, gid, rdev, document, version, link, since, since_ns, until, until_ns, how)
  SELECT e.parent, e.tag, e.sealed, e.node, p_node.kind, p_node.mode, p_node.uid, p_node.gid, p_node.rdev, p_node.document, p_node.version,
    (SELECT l.sealed FROM link l WHERE l.node = e.node),
    CASE WHEN e.since = 0 AND e.since_ns = 0 THEN p_node.btime ELSE e.since END,
    CASE WHEN e.since = 0 AND e.since_ns = 0 THEN p_node.btime_ns ELSE e.since_ns END, p_until, p_until_ns, p_how
  FROM entry e WHERE e.parent = p_parent AND e.tag = p_tag;
  IF NOT FOUND THEN RAISE EXCEPTION 'a name vanished within a transaction' USING ERRCODE = 'WF011'; END IF;
END $$;

-- Takes a name away that ended.
CREATE OR REPLACE FUNCTION remove_name(p_parent BIGINT, p_tag BYTEA, p_node node, p_at BIGINT, p_ns BIGINT) RETURNS VOID
LANGUAGE plpgsql AS $$
DECLARE v BIGINT; v_ns BIGINT;
BEGIN
  SELECT * INTO v, v_ns FROM not_before(p_parent, p_tag, p_at, p_ns);
  PERFORM end_name(p_parent, p_tag, p_node, v, v_ns, 2);
  DELETE FROM entry WHERE parent = p_parent AND tag = p_tag;
END $$;

-- Lets the names that a locked file has begin anew, while it still has the document that it had under them. Nobody changes one of them
-- without the file's lock, whatever folder it is in.
CREATE OR REPLACE FUNCTION renew_names(p_file node, p_at BIGINT, p_ns BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE e entry; v BIGINT; v_ns BIGINT;
BEGIN
  FOR e IN SELECT * FROM entry WHERE node = p_file.id ORDER BY parent, tag LOOP
    SELECT * INTO v, v_ns FROM not_before(e.parent, e.tag, p_at, p_ns);
    PERFORM end_name(e.parent, e.tag, p_file, v, v_ns, 1);
    UPDATE entry SET since = v, since_ns = v_ns WHERE parent = e.parent AND tag = e.tag;
  END LOOP;
END $$;

-- Writes an earlier version once more, as a document's next one; 0 is an empty file. `p_head` is the head that its author was sealed for.
CREATE OR REPLACE FUNCTION again(p_from BYTEA, p_number BIGINT, p_head BYTEA, p_to BYTEA, p_next BIGINT, p_at BIGINT, p_ns BIGINT,
  p_author BYTEA) RETURNS version LANGUAGE plpgsql AS $$
DECLARE r version;
BEGIN
  IF p_number = 0 THEN
    INSERT INTO version (document, number, size, mtime, mtime_ns, saved, saved_ns, sealed, head, extents, settled)
    VALUES (p_to, p_next, 0, p_at, p_ns, p_at, p_ns, p_author, NULL, 0, 1) RETURNING * INTO r;
  ELSE
    -- Nobody may take it back meanwhile.
    PERFORM 1 FROM version WHERE document = p_from AND number = p_number AND head IS NOT DISTINCT FROM p_head FOR SHARE;
    IF NOT FOUND THEN RAISE EXCEPTION 'version' USING ERRCODE = 'WF001'; END IF;
    INSERT INTO version (document, number, size, mtime, mtime_ns, saved, saved_ns, sealed, head, extents, settled)
    SELECT p_to, p_next, size, mtime, mtime_ns, p_at, p_ns, p_author, head, extents, settled
    FROM version WHERE document = p_from AND number = p_number RETURNING * INTO r;
  END IF;
  PERFORM supersede(p_to, p_next,
    ARRAY(SELECT no FROM layout WHERE document = p_from AND from_version <= p_number
      AND (until_version IS NULL OR until_version > p_number) ORDER BY no),
    ARRAY(SELECT extent FROM layout WHERE document = p_from AND from_version <= p_number
      AND (until_version IS NULL OR until_version > p_number) ORDER BY no));
  RETURN r;
END $$;

CREATE OR REPLACE FUNCTION show_version(p_node BIGINT, p_version version, p_at BIGINT, p_ns BIGINT) RETURNS node LANGUAGE plpgsql AS $$
DECLARE r node;
BEGIN
  UPDATE node SET version = p_version.number, size = p_version.size, mtime = p_version.mtime, mtime_ns = p_version.mtime_ns,
    ctime = p_at, ctime_ns = p_ns, head = p_version.head WHERE id = p_node RETURNING * INTO r;
  RETURN r;
END $$;

CREATE OR REPLACE FUNCTION reinstate_next(p_node BIGINT, p_base BYTEA, p_from BYTEA, p_number BIGINT, p_head BYTEA, p_at BIGINT, p_ns BIGINT,
  p_author BYTEA, p_line BYTEA, p_audit BYTEA) RETURNS node LANGUAGE plpgsql AS $$
DECLARE r node; v_newest BIGINT;
BEGIN
  r := lock_node(p_node);
  PERFORM need_file(r.kind);
  v_newest := newest(r.document);
  IF r.head IS DISTINCT FROM p_base OR v_newest <> r.version THEN RAISE EXCEPTION '%', v_newest USING ERRCODE = 'WF008'; END IF;
  r := show_version(r.id, again(p_from, p_number, p_head, r.document, r.version + 1, p_at, p_ns, p_author), p_at, p_ns);
  PERFORM line(p_line, p_audit);
  RETURN r;
END $$;

CREATE OR REPLACE FUNCTION reinstate_new(p_parent BIGINT, p_tag BYTEA, p_name BYTEA, p_kind BIGINT, p_mode BIGINT, p_uid BIGINT, p_gid BIGINT,
  p_document BYTEA, p_from BYTEA, p_number BIGINT, p_head BYTEA, p_at BIGINT, p_ns BIGINT, p_author BYTEA, p_line BYTEA, p_audit BYTEA)
RETURNS node LANGUAGE plpgsql AS $$
DECLARE r node; v version; v_newest BIGINT;
BEGIN
  PERFORM need_file(p_kind);
  -- Two who bring one document back in two folders would otherwise both find that nobody has it.
  PERFORM 1 FROM moves WHERE id = 1 FOR UPDATE;
  PERFORM lock_folder(p_parent);
  IF EXISTS (SELECT 1 FROM entry WHERE parent = p_parent AND tag = p_tag) THEN RAISE EXCEPTION 'taken' USING ERRCODE = 'WF002'; END IF;
  IF EXISTS (SELECT 1 FROM node WHERE document = p_document) THEN RAISE EXCEPTION 'taken' USING ERRCODE = 'WF002'; END IF;
  v_newest := newest(p_document);
  -- Before the node is made: a number that was drawn is not drawn again.
  IF p_number > 0 THEN
    PERFORM 1 FROM version WHERE document = p_from AND number = p_number AND head IS NOT DISTINCT FROM p_head FOR SHARE;
    IF NOT FOUND THEN RAISE EXCEPTION 'version' USING ERRCODE = 'WF001'; END IF;
  END IF;
  r := make_node(p_parent, p_tag, p_name, p_kind, p_mode, p_uid, p_gid, 0, 0, p_document, p_at, p_ns);
  IF v_newest > 0 AND p_document = p_from AND v_newest = p_number THEN
    SELECT * INTO v FROM version WHERE document = p_from AND number = p_number;
    r := show_version(r.id, v, p_at, p_ns);
  ELSIF v_newest > 0 OR p_number > 0 THEN
    r := show_version(r.id, again(p_from, p_number, p_head, p_document, v_newest + 1, p_at, p_ns, p_author), p_at, p_ns);
  END IF;
  PERFORM line(p_line, p_audit);
  RETURN r;
END $$;

-- Takes a name away, provided that it still stands for this node with this head.
CREATE OR REPLACE FUNCTION unlink_if(p_parent BIGINT, p_tag BYTEA, p_node BIGINT, p_head BYTEA, p_keep BOOLEAN, p_at BIGINT, p_ns BIGINT,
  p_line BYTEA, p_audit BYTEA) RETURNS node LANGUAGE plpgsql AS $$
DECLARE r node;
BEGIN
  PERFORM lock_folder(p_parent);
  r := lock_named(p_parent, p_tag);
  IF r.id <> p_node OR r.head IS DISTINCT FROM p_head THEN RAISE EXCEPTION '%', r.version USING ERRCODE = 'WF008'; END IF;
  RETURN unlink_name(p_parent, p_tag, CASE WHEN p_keep THEN ARRAY[p_node] ELSE ARRAY[]::BIGINT[] END, p_at, p_ns, p_line, p_audit);
END $$;

-- Moves a position on, from where the caller found it.
CREATE OR REPLACE FUNCTION advance(p_what TEXT, p_from BIGINT, p_to BIGINT) RETURNS BOOLEAN LANGUAGE plpgsql AS $$ BEGIN
  IF p_from = 0 THEN INSERT INTO position (what, at) VALUES (p_what, p_to) ON CONFLICT (what) DO NOTHING;
    IF FOUND THEN RETURN TRUE; END IF;
  END IF;
  UPDATE position SET at = p_to WHERE what = p_what AND at = p_from;
  RETURN FOUND;
END $$;

-- Makes a document's layout what the versions that it still has need: each interval from the first of them that it covers, and two that
-- meet with one extent are one. Returns the extents of the rows that are gone. Arrays are thought to be short when it is planned, as in
-- `supersede`.
CREATE OR REPLACE FUNCTION relayout(p_document BYTEA) RETURNS BYTEA[] LANGUAGE plpgsql SET enable_nestloop = off AS $$
DECLARE v_places BIGINT[]; v_from BIGINT[]; v_until BIGINT[]; v_extents BYTEA[]; v_gone BYTEA[];
BEGIN
  WITH span AS (
    SELECT l.no, l.extent, l.until_version AS ended,
      (SELECT min(v.number) FROM version v WHERE v.document = p_document AND v.number >= l.from_version) AS f,
      (SELECT min(v.number) FROM version v WHERE v.document = p_document AND v.number >= l.until_version) AS u
    FROM layout l WHERE l.document = p_document),
  needed AS (SELECT no, extent, f, u FROM span WHERE f < ended OR (f IS NOT NULL AND ended IS NULL)),
  edge AS (
    SELECT no, extent, f, u, CASE WHEN lag(extent) OVER w = extent AND lag(u) OVER w = f THEN 0 ELSE 1 END AS fresh
    FROM needed WINDOW w AS (PARTITION BY no ORDER BY f)),
  run AS (SELECT no, extent, f, u, sum(fresh) OVER (PARTITION BY no ORDER BY f) AS run FROM edge),
  whole AS (SELECT no, min(f) AS f, (array_agg(u ORDER BY f DESC))[1] AS u, (array_agg(extent))[1] AS extent FROM run GROUP BY no, run)
  SELECT array_agg(no), array_agg(f), array_agg(u), array_agg(extent) INTO v_places, v_from, v_until, v_extents FROM whole;
  WITH gone AS (
    DELETE FROM layout l WHERE l.document = p_document AND NOT EXISTS (
      SELECT 1 FROM unnest(v_places, v_from, v_until, v_extents) AS x (no, f, u, extent)
      WHERE x.no = l.no AND x.f = l.from_version AND x.u IS NOT DISTINCT FROM l.until_version AND x.extent = l.extent)
    RETURNING l.extent)
  SELECT array_agg(extent) INTO v_gone FROM gone;
  INSERT INTO layout (document, no, from_version, until_version, extent)
  SELECT p_document, x.no, x.f, x.u, x.extent FROM unnest(v_places, v_from, v_until, v_extents) AS x (no, f, u, extent)
  WHERE NOT EXISTS (SELECT 1 FROM layout l WHERE l.document = p_document AND l.no = x.no AND l.from_version = x.f);
  RETURN COALESCE(v_gone, '{}');
END $$;

-- Forgets versions and names that ended for good. The root's row first, as for whoever changes its attributes (holds are such), then the
-- files that have the documents, then the versions: whoever brings one of these back at this moment holds it, and has done so when its
-- row is had, so what is judged after that is what is there. `p_versions` beside `p_documents`; a row of the answer is a version that
-- is gone, or an extent that nobody needs any more: the intent names it.
CREATE OR REPLACE FUNCTION forget_versions(p_attributes BYTEA[], p_documents BYTEA[], p_versions BIGINT[], p_names BIGINT[], p_known BIGINT,
  p_waste BYTEA, p_lease BIGINT, p_line BYTEA, p_audit BYTEA)
RETURNS TABLE (gone_document BYTEA, gone_number BIGINT, gone_extent BYTEA, gone_generation BIGINT) LANGUAGE plpgsql AS $$
DECLARE v_documents BYTEA[]; v_numbers BIGINT[]; v_loose BYTEA[]; v_more BYTEA[]; v_document BYTEA;
  v_extents BYTEA[]; v_generations BIGINT[]; v_root node;
BEGIN
  v_root := lock_node(1);
  IF EXISTS ((SELECT tag FROM xattr WHERE node = 1 EXCEPT SELECT * FROM unnest(p_attributes))
      UNION ALL (SELECT * FROM unnest(p_attributes) EXCEPT SELECT tag FROM xattr WHERE node = 1)) THEN
    RAISE EXCEPTION '0' USING ERRCODE = 'WF008';
  END IF;
  PERFORM 1 FROM node n WHERE n.document = ANY (p_documents) ORDER BY n.id FOR UPDATE;
  PERFORM 1 FROM version v WHERE v.document = ANY (p_documents) ORDER BY v.document, v.number FOR UPDATE;
  -- As long as the newest is not known to be on disk, the one before it may be needed again.
  SELECT array_agg(v.document ORDER BY v.document, v.number), array_agg(v.number ORDER BY v.document, v.number)
  INTO v_documents, v_numbers
  FROM version v JOIN (SELECT DISTINCT * FROM unnest(p_documents, p_versions)) AS u (document, number)
    ON v.document = u.document AND v.number = u.number
  WHERE v.settled <> 0 AND (NOT EXISTS (SELECT 1 FROM node n WHERE n.document = v.document)
    OR (NOT EXISTS (SELECT 1 FROM node n WHERE n.document = v.document AND n.version = v.number)
      AND v.number < (SELECT max(w.number) FROM version w WHERE w.document = v.document AND w.settled <> 0)));
  IF v_documents IS NOT NULL THEN
    WITH gone AS (
      DELETE FROM version v USING unnest(v_documents, v_numbers) AS u (document, number)
      WHERE v.document = u.document AND v.number = u.number RETURNING v.head)
    SELECT array_agg(head) FILTER (WHERE head IS NOT NULL) INTO v_loose FROM gone;
    FOR v_document IN SELECT DISTINCT u.document FROM unnest(v_documents) AS u (document) ORDER BY 1 LOOP
      v_more := relayout(v_document);
      v_loose := v_loose || v_more;
    END LOOP;
    -- Whoever makes a copy of these just now holds them, and its rows are there when they are had.
    PERFORM 1 FROM extent e WHERE e.id = ANY (v_loose) ORDER BY e.id FOR UPDATE;
    WITH gone AS (
      DELETE FROM extent e WHERE e.id = ANY (v_loose) AND NOT EXISTS (SELECT 1 FROM layout l WHERE l.extent = e.id)
        AND NOT EXISTS (SELECT 1 FROM version w WHERE w.head = e.id) RETURNING e.id, e.generation)
    SELECT array_agg(id ORDER BY id), array_agg(generation ORDER BY id) INTO v_extents, v_generations FROM gone;
  END IF;
  DELETE FROM past WHERE id = ANY (p_names);
  IF p_known > 0 THEN
    INSERT INTO position (what, at) VALUES ('past', p_known)
    ON CONFLICT (what) DO UPDATE SET at = GREATEST(position.at, excluded.at);
  END IF;
  IF v_extents IS NOT NULL THEN
    -- The generation in four bytes, the lowest first, as the program writes such lists.
    PERFORM begin_save(p_waste, p_lease, (
      SELECT string_agg(u.id || set_byte(set_byte(set_byte(set_byte('\x00000000'::bytea, 0, (u.g & 255)::int), 1, ((u.g >> 8) & 255)::int),
        2, ((u.g >> 16) & 255)::int), 3, ((u.g >> 24) & 255)::int), ''::bytea ORDER BY u.id)
      FROM unnest(v_extents, v_generations) AS u (id, g)));
  END IF;
  PERFORM line(p_line, p_audit);
  RETURN QUERY SELECT u.document, u.number, NULL::bytea, NULL::bigint FROM unnest(v_documents, v_numbers) AS u (document, number);
  RETURN QUERY SELECT NULL::bytea, NULL::bigint, u.id, u.g FROM unnest(v_extents, v_generations) AS u (id, g);
END $$;
