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
  RETURN unlink_name(p_parent, p_tag, p_keep, p_at, p_ns, p_line, p_audit);
END $$;

-- Moves a position on, from where the caller found it.
CREATE OR REPLACE FUNCTION advance(p_what TEXT, p_from BIGINT, p_to BIGINT) RETURNS BOOLEAN LANGUAGE plpgsql AS $$ BEGIN
  IF p_from = 0 THEN INSERT INTO position (what, at) VALUES (p_what, p_to) ON CONFLICT (what) DO NOTHING;
    IF FOUND THEN RETURN TRUE; END IF;
  END IF;
  UPDATE position SET at = p_to WHERE what = p_what AND at = p_from;
  RETURN FOUND;
END $$;
