-- Writes to names and nodes: one function for each, so that each is one round trip and one transaction. What is wrong is raised under
-- SQLSTATEs of our own, class WF (`error.rs` reads them). Rows are locked before they are judged: first the folders, in the order of
-- their numbers, then what the names stand for. Each statement after a lock sees what was committed before it was had.

CREATE OR REPLACE FUNCTION line(p_line BYTEA, p_sealed BYTEA) RETURNS VOID LANGUAGE plpgsql AS $$ BEGIN
  PERFORM need_schema();
  INSERT INTO arrived (line, sealed) VALUES (p_line, p_sealed);
END $$;

-- A folder that has a name, as it is now.
CREATE OR REPLACE FUNCTION need_folder(p_dir BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE v_kind BIGINT; v_nlink BIGINT;
BEGIN
  SELECT kind, nlink INTO v_kind, v_nlink FROM node WHERE id = p_dir;
  IF NOT FOUND THEN RAISE EXCEPTION 'folder' USING ERRCODE = 'WF001'; END IF;
  IF v_kind <> 2 THEN RAISE EXCEPTION 'not a folder' USING ERRCODE = 'WF004'; END IF;
  IF v_nlink = 0 THEN RAISE EXCEPTION 'folder' USING ERRCODE = 'WF001'; END IF;
END $$;

CREATE OR REPLACE FUNCTION lock_folder(p_dir BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$ BEGIN
  PERFORM 1 FROM node WHERE id = p_dir FOR UPDATE;
  PERFORM need_folder(p_dir);
END $$;

CREATE OR REPLACE FUNCTION lock_node(p_node BIGINT) RETURNS node LANGUAGE plpgsql AS $$
DECLARE r node;
BEGIN
  SELECT * INTO r FROM node WHERE id = p_node FOR UPDATE;
  IF NOT FOUND THEN RAISE EXCEPTION 'node' USING ERRCODE = 'WF001'; END IF;
  RETURN r;
END $$;

-- What a name in a locked folder stands for; it must be taken.
CREATE OR REPLACE FUNCTION lock_named(p_parent BIGINT, p_tag BYTEA) RETURNS node LANGUAGE plpgsql AS $$
DECLARE v_id BIGINT;
BEGIN
  SELECT node INTO v_id FROM entry WHERE parent = p_parent AND tag = p_tag;
  IF NOT FOUND THEN RAISE EXCEPTION 'name' USING ERRCODE = 'WF001'; END IF;
  RETURN lock_node(v_id);
END $$;

-- A folder's entries changed, and it has so many folders more.
CREATE OR REPLACE FUNCTION touch(p_dir BIGINT, p_at BIGINT, p_ns BIGINT, p_folders BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$ BEGIN
  UPDATE node SET mtime = p_at, mtime_ns = p_ns, ctime = p_at, ctime_ns = p_ns, nlink = nlink + p_folders WHERE id = p_dir;
END $$;

CREATE OR REPLACE FUNCTION touch_both(p_from BIGINT, p_from_folders BIGINT, p_to BIGINT, p_to_folders BIGINT, p_at BIGINT, p_ns BIGINT)
RETURNS VOID LANGUAGE plpgsql AS $$ BEGIN
  IF p_from = p_to THEN PERFORM touch(p_from, p_at, p_ns, p_from_folders + p_to_folders);
  ELSE PERFORM touch(p_from, p_at, p_ns, p_from_folders); PERFORM touch(p_to, p_at, p_ns, p_to_folders); END IF;
END $$;

CREATE OR REPLACE FUNCTION delete_node(p_node BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$ BEGIN
  DELETE FROM link WHERE node = p_node;
  DELETE FROM xattr WHERE node = p_node;
  DELETE FROM node WHERE id = p_node;
END $$;

-- Counts a name that was taken from a locked node, and forgets the node when it was the last. A folder has only one.
CREATE OR REPLACE FUNCTION drop_name(p_node node, p_keep BOOLEAN, p_at BIGINT, p_ns BIGINT) RETURNS node LANGUAGE plpgsql AS $$
DECLARE r node := p_node;
BEGIN
  r.ctime := p_at; r.ctime_ns := p_ns;
  IF r.kind = 2 THEN r.nlink := 0;
  ELSIF r.nlink = 0 THEN RAISE EXCEPTION 'node % has a name and counts none', r.id USING ERRCODE = 'WF011';
  ELSE r.nlink := r.nlink - 1; END IF;
  IF r.nlink = 0 AND NOT p_keep THEN PERFORM delete_node(r.id);
  ELSE UPDATE node SET nlink = r.nlink, ctime = r.ctime, ctime_ns = r.ctime_ns WHERE id = r.id; END IF;
  RETURN r;
END $$;

CREATE OR REPLACE FUNCTION make_node(p_parent BIGINT, p_tag BYTEA, p_name BYTEA, p_kind BIGINT, p_mode BIGINT, p_uid BIGINT, p_gid BIGINT,
  p_rdev BIGINT, p_size BIGINT, p_document BYTEA, p_at BIGINT, p_ns BIGINT) RETURNS node LANGUAGE plpgsql AS $$
DECLARE r node; v_folders BIGINT := CASE WHEN p_kind = 2 THEN 1 ELSE 0 END;
BEGIN
  PERFORM lock_folder(p_parent);
  IF EXISTS (SELECT 1 FROM entry WHERE parent = p_parent AND tag = p_tag) THEN RAISE EXCEPTION 'taken' USING ERRCODE = 'WF002'; END IF;
  INSERT INTO node (kind, mode, uid, gid, nlink, rdev, size, atime, atime_ns, mtime, mtime_ns, ctime, ctime_ns, btime, btime_ns,
    document, version, head)
  VALUES (p_kind, p_mode, p_uid, p_gid, 1 + v_folders, p_rdev, p_size, p_at, p_ns, p_at, p_ns, p_at, p_ns, p_at, p_ns,
    p_document, 0, NULL) RETURNING * INTO r;
  PERFORM begin_name(p_parent, p_tag, p_name, r.id, p_at, p_ns);
  PERFORM touch(p_parent, p_at, p_ns, v_folders);
  RETURN r;
END $$;

-- What inherits gets the group of a folder with the set-group-id bit, and a folder the bit too. `p_unless` is the tag of an extended attribute
-- that the folder must not have.
CREATE OR REPLACE FUNCTION create_node(p_parent BIGINT, p_tag BYTEA, p_name BYTEA, p_kind BIGINT, p_mode BIGINT, p_uid BIGINT, p_gid BIGINT,
  p_rdev BIGINT, p_size BIGINT, p_document BYTEA, p_inherits BOOLEAN, p_unless BYTEA, p_at BIGINT, p_ns BIGINT, p_line BYTEA, p_audit BYTEA)
RETURNS node LANGUAGE plpgsql AS $$
DECLARE r node; v_mode BIGINT := p_mode; v_gid BIGINT := p_gid; v_folder_mode BIGINT; v_folder_gid BIGINT;
BEGIN
  PERFORM lock_folder(p_parent);
  IF p_unless IS NOT NULL AND EXISTS (SELECT 1 FROM xattr WHERE node = p_parent AND tag = p_unless) THEN
    RAISE EXCEPTION 'an attribute' USING ERRCODE = 'WF015';
  END IF;
  IF p_inherits THEN
    SELECT mode, gid INTO v_folder_mode, v_folder_gid FROM node WHERE id = p_parent;
    IF v_folder_mode & 1024 <> 0 THEN
      v_gid := v_folder_gid;
      IF p_kind = 2 THEN v_mode := v_mode | 1024; END IF;
    END IF;
  END IF;
  r := make_node(p_parent, p_tag, p_name, p_kind, v_mode, p_uid, v_gid, p_rdev, p_size, p_document, p_at, p_ns);
  PERFORM line(p_line, p_audit);
  RETURN r;
END $$;

CREATE OR REPLACE FUNCTION need_linkable(p_node node) RETURNS VOID LANGUAGE plpgsql AS $$ BEGIN
  IF p_node.id IS NULL THEN RAISE EXCEPTION 'node' USING ERRCODE = 'WF001'; END IF;
  IF p_node.kind = 2 THEN RAISE EXCEPTION 'a folder' USING ERRCODE = 'WF005'; END IF;
  IF p_node.nlink = 0 THEN RAISE EXCEPTION 'node' USING ERRCODE = 'WF001'; END IF;
END $$;

CREATE OR REPLACE FUNCTION link_node(p_node BIGINT, p_parent BIGINT, p_tag BYTEA, p_name BYTEA, p_at BIGINT, p_ns BIGINT,
  p_line BYTEA, p_audit BYTEA) RETURNS node LANGUAGE plpgsql AS $$
DECLARE r node;
BEGIN
  SELECT * INTO r FROM node WHERE id = p_node;
  PERFORM need_linkable(r);
  PERFORM lock_folder(p_parent);
  SELECT * INTO r FROM node WHERE id = p_node FOR UPDATE;
  PERFORM need_linkable(r);
  IF EXISTS (SELECT 1 FROM entry WHERE parent = p_parent AND tag = p_tag) THEN RAISE EXCEPTION 'taken' USING ERRCODE = 'WF002'; END IF;
  IF r.nlink >= 4294967295 THEN RAISE EXCEPTION 'too many names' USING ERRCODE = 'WF007'; END IF;
  UPDATE node SET nlink = nlink + 1, ctime = p_at, ctime_ns = p_ns WHERE id = p_node RETURNING * INTO r;
  PERFORM begin_name(p_parent, p_tag, p_name, p_node, p_at, p_ns);
  PERFORM touch(p_parent, p_at, p_ns, 0);
  PERFORM line(p_line, p_audit);
  RETURN r;
END $$;

-- `p_open`: which nodes are kept when they are left without a name.
CREATE OR REPLACE FUNCTION unlink_name(p_parent BIGINT, p_tag BYTEA, p_open BIGINT[], p_at BIGINT, p_ns BIGINT,
  p_line BYTEA, p_audit BYTEA) RETURNS node LANGUAGE plpgsql AS $$
DECLARE r node;
BEGIN
  PERFORM lock_folder(p_parent);
  r := lock_named(p_parent, p_tag);
  IF r.kind = 2 THEN RAISE EXCEPTION 'a folder' USING ERRCODE = 'WF005'; END IF;
  PERFORM remove_name(p_parent, p_tag, r, p_at, p_ns);
  r := drop_name(r, r.id = ANY (p_open), p_at, p_ns);
  PERFORM touch(p_parent, p_at, p_ns, 0);
  PERFORM line(p_line, p_audit);
  RETURN r;
END $$;

CREATE OR REPLACE FUNCTION remove_folder(p_parent BIGINT, p_tag BYTEA, p_at BIGINT, p_ns BIGINT, p_line BYTEA, p_audit BYTEA) RETURNS VOID
LANGUAGE plpgsql AS $$
DECLARE r node;
BEGIN
  PERFORM lock_folder(p_parent);
  r := lock_named(p_parent, p_tag);
  IF r.kind <> 2 THEN RAISE EXCEPTION 'not a folder' USING ERRCODE = 'WF004'; END IF;
  IF EXISTS (SELECT 1 FROM entry WHERE parent = r.id) THEN RAISE EXCEPTION 'not empty' USING ERRCODE = 'WF003'; END IF;
  PERFORM remove_name(p_parent, p_tag, r, p_at, p_ns);
  r := drop_name(r, FALSE, p_at, p_ns);
  PERFORM touch(p_parent, p_at, p_ns, -1);
  PERFORM line(p_line, p_audit);
END $$;

-- Whether a folder is another one or lies below it. No folder moves while `moves` is held.
CREATE OR REPLACE FUNCTION is_within(p_dir BIGINT, p_ancestor BIGINT) RETURNS BOOLEAN LANGUAGE plpgsql AS $$
DECLARE v_at BIGINT := p_dir; v_depth BIGINT := 0;
BEGIN
  WHILE v_depth < 1048576 LOOP
    IF v_at = p_ancestor THEN RETURN TRUE; END IF;
    SELECT parent INTO v_at FROM entry WHERE node = v_at ORDER BY parent LIMIT 1;
    IF NOT FOUND THEN RETURN FALSE; END IF;
    v_depth := v_depth + 1;
  END LOOP;
  RAISE EXCEPTION 'the folders above node % go round in a circle', p_dir USING ERRCODE = 'WF011';
END $$;

-- Makes a file's current version the next one of another document after its last. Only rows are copied: the extents stay what they
-- are, and say for which document they were dealt. `p_author` is for a file that nobody has saved anything in.
CREATE OR REPLACE FUNCTION go_on_in(p_file node, p_document BYTEA, p_last BIGINT, p_at BIGINT, p_ns BIGINT, p_author BYTEA) RETURNS node
LANGUAGE plpgsql AS $$
DECLARE r node := p_file; v_next BIGINT := p_last + 1;
BEGIN
  PERFORM renew_names(p_file, p_at, p_ns);
  IF p_file.version = 0 THEN
    INSERT INTO version (document, number, size, mtime, mtime_ns, saved, saved_ns, sealed, head, extents, settled)
    VALUES (p_document, v_next, 0, p_file.mtime, p_file.mtime_ns, p_at, p_ns, p_author, NULL, 0, 1);
  ELSE
    INSERT INTO version (document, number, size, mtime, mtime_ns, saved, saved_ns, sealed, head, extents, settled)
    SELECT p_document, v_next, size, mtime, mtime_ns, saved, saved_ns, sealed, head, extents, settled
    FROM version WHERE document = p_file.document AND number = p_file.version;
    IF NOT FOUND THEN
      RAISE EXCEPTION 'version % of node % has no row', p_file.version, p_file.id USING ERRCODE = 'WF011';
    END IF;
  END IF;
  PERFORM supersede(p_document, v_next,
    ARRAY(SELECT no FROM layout WHERE document = p_file.document AND from_version <= p_file.version
      AND (until_version IS NULL OR until_version > p_file.version) ORDER BY no),
    ARRAY(SELECT extent FROM layout WHERE document = p_file.document AND from_version <= p_file.version
      AND (until_version IS NULL OR until_version > p_file.version) ORDER BY no));
  UPDATE node SET document = p_document, version = v_next WHERE id = p_file.id;
  r.document := p_document; r.version := v_next;
  RETURN r;
END $$;

-- Lets a file go on with the document of another one. Returns the files changed, none where there is nothing to do.
CREATE OR REPLACE FUNCTION succeed(p_node BIGINT, p_document BYTEA, p_spare BYTEA, p_at BIGINT, p_ns BIGINT, p_author BYTEA,
  p_line BYTEA, p_audit BYTEA) RETURNS SETOF node LANGUAGE plpgsql AS $$
DECLARE h node; f node; v_last BIGINT; v_holder BIGINT;
BEGIN
  PERFORM 1 FROM node WHERE id = p_node OR document = p_document ORDER BY id FOR UPDATE;
  SELECT * INTO h FROM node WHERE id = p_node;
  IF NOT FOUND THEN RAISE EXCEPTION 'node' USING ERRCODE = 'WF001'; END IF;
  v_last := newest(p_document);
  IF h.kind <> 1 OR h.version = 0 OR h.document = p_document OR v_last = 0 THEN RETURN; END IF;
  SELECT id INTO v_holder FROM node WHERE document = p_document AND nlink > 0 ORDER BY id LIMIT 1;
  h := go_on_in(h, p_document, v_last, p_at, p_ns, p_author);
  RETURN NEXT h;
  IF v_holder IS NOT NULL THEN
    SELECT * INTO f FROM node WHERE id = v_holder;
    RETURN NEXT go_on_in(f, p_spare, 0, p_at, p_ns, p_author);
  END IF;
  PERFORM line(p_line, p_audit);
END $$;

-- Returns the node that was moved, and then the one that was replaced or changed places, where there is one. `p_mode`: 0 replace,
-- 1 refuse, 2 exchange.
CREATE OR REPLACE FUNCTION rename_node(p_from BIGINT, p_from_tag BYTEA, p_to BIGINT, p_to_tag BYTEA, p_to_name BYTEA, p_mode BIGINT,
  p_open BIGINT[], p_at BIGINT, p_ns BIGINT, p_author BYTEA, p_line BYTEA, p_audit BYTEA) RETURNS SETOF node LANGUAGE plpgsql AS $$
DECLARE m node; o node; v_moved BIGINT; v_other BIGINT; v_m BIGINT; v_o BIGINT; v_held BOOLEAN := FALSE; v_goes_on BOOLEAN;
  t BIGINT; t_ns BIGINT;
BEGIN
  -- Before any other row, so that two who move folders do not wait for each other.
  IF p_from <> p_to AND EXISTS (SELECT 1 FROM entry e JOIN node n ON n.id = e.node
      WHERE n.kind = 2 AND ((e.parent = p_from AND e.tag = p_from_tag) OR (e.parent = p_to AND e.tag = p_to_tag))) THEN
    PERFORM 1 FROM moves WHERE id = 1 FOR UPDATE;
    v_held := TRUE;
  END IF;
  PERFORM 1 FROM node WHERE id IN (p_from, p_to) ORDER BY id FOR UPDATE;
  PERFORM need_folder(p_from);
  PERFORM need_folder(p_to);
  SELECT node INTO v_moved FROM entry WHERE parent = p_from AND tag = p_from_tag;
  IF NOT FOUND THEN RAISE EXCEPTION 'name' USING ERRCODE = 'WF001'; END IF;
  SELECT node INTO v_other FROM entry WHERE parent = p_to AND tag = p_to_tag;
  IF v_other IS NOT NULL AND p_mode = 1 THEN RAISE EXCEPTION 'taken' USING ERRCODE = 'WF002'; END IF;
  IF v_other IS NULL AND p_mode = 2 THEN RAISE EXCEPTION 'name' USING ERRCODE = 'WF001'; END IF;
  PERFORM 1 FROM node WHERE id IN (v_moved, v_other) ORDER BY id FOR UPDATE;
  SELECT * INTO m FROM node WHERE id = v_moved;
  -- Two names of one node: nothing is done, so nothing is written to the log either.
  IF v_other = v_moved THEN RETURN NEXT m; RETURN; END IF;
  SELECT * INTO o FROM node WHERE id = v_other;
  v_m := CASE WHEN m.kind = 2 THEN 1 ELSE 0 END;
  v_o := CASE WHEN o.kind = 2 THEN 1 ELSE 0 END;
  -- The names came to stand for folders since they were looked at.
  IF p_from <> p_to AND v_m + v_o > 0 AND NOT v_held THEN PERFORM 1 FROM moves WHERE id = 1 FOR UPDATE; END IF;
  IF v_m = 1 AND is_within(p_to, m.id) THEN RAISE EXCEPTION 'loop' USING ERRCODE = 'WF006'; END IF;
  m.ctime := p_at; m.ctime_ns := p_ns;
  SELECT * INTO t, t_ns FROM not_before(p_from, p_from_tag, p_at, p_ns);
  SELECT * INTO t, t_ns FROM not_before(p_to, p_to_tag, t, t_ns);
  PERFORM end_name(p_from, p_from_tag, m, t, t_ns, 1);

  IF p_mode = 2 THEN
    IF v_o = 1 AND is_within(p_from, o.id) THEN RAISE EXCEPTION 'loop' USING ERRCODE = 'WF006'; END IF;
    o.ctime := p_at; o.ctime_ns := p_ns;
    PERFORM end_name(p_to, p_to_tag, o, t, t_ns, 1);
    UPDATE entry SET node = o.id, since = t, since_ns = t_ns WHERE parent = p_from AND tag = p_from_tag;
    UPDATE entry SET node = m.id, since = t, since_ns = t_ns WHERE parent = p_to AND tag = p_to_tag;
    UPDATE node SET ctime = p_at, ctime_ns = p_ns WHERE id = o.id;
    PERFORM touch_both(p_from, v_o - v_m, p_to, v_m - v_o, p_at, p_ns);
  ELSIF v_other IS NOT NULL THEN
    IF v_m = 1 AND v_o = 0 THEN RAISE EXCEPTION 'not a folder' USING ERRCODE = 'WF004'; END IF;
    IF v_m = 0 AND v_o = 1 THEN RAISE EXCEPTION 'a folder' USING ERRCODE = 'WF005'; END IF;
    IF v_o = 1 AND EXISTS (SELECT 1 FROM entry WHERE parent = o.id) THEN RAISE EXCEPTION 'not empty' USING ERRCODE = 'WF003'; END IF;
    v_goes_on := m.kind = 1 AND o.kind = 1 AND o.nlink = 1 AND o.version > 0;
    PERFORM end_name(p_to, p_to_tag, o, t, t_ns, CASE WHEN v_goes_on THEN 3 ELSE 2 END);
    DELETE FROM entry WHERE parent = p_from AND tag = p_from_tag;
    IF v_goes_on THEN m := go_on_in(m, o.document, o.version, p_at, p_ns, p_author); END IF;
    UPDATE entry SET node = m.id, since = t, since_ns = t_ns WHERE parent = p_to AND tag = p_to_tag;
    o := drop_name(o, o.id = ANY (p_open), p_at, p_ns);
    PERFORM touch_both(p_from, -v_m, p_to, v_m - v_o, p_at, p_ns);
  ELSE
    DELETE FROM entry WHERE parent = p_from AND tag = p_from_tag;
    INSERT INTO entry (parent, tag, sealed, node, since, since_ns) VALUES (p_to, p_to_tag, p_to_name, m.id, t, t_ns);
    PERFORM touch_both(p_from, -v_m, p_to, v_m, p_at, p_ns);
  END IF;
  UPDATE node SET ctime = m.ctime, ctime_ns = m.ctime_ns, document = m.document, version = m.version WHERE id = m.id;
  PERFORM line(p_line, p_audit);
  RETURN NEXT m;
  IF v_other IS NOT NULL THEN RETURN NEXT o; END IF;
END $$;

CREATE OR REPLACE FUNCTION change_node(p_node BIGINT, p_mode BIGINT, p_uid BIGINT, p_gid BIGINT, p_atime BIGINT, p_atime_ns BIGINT,
  p_mtime BIGINT, p_mtime_ns BIGINT, p_at BIGINT, p_ns BIGINT, p_line BYTEA, p_audit BYTEA) RETURNS node LANGUAGE plpgsql AS $$
DECLARE r node;
BEGIN
  UPDATE node SET mode = COALESCE(p_mode, mode), uid = COALESCE(p_uid, uid), gid = COALESCE(p_gid, gid),
    atime = COALESCE(p_atime, atime), atime_ns = COALESCE(p_atime_ns, atime_ns),
    mtime = COALESCE(p_mtime, mtime), mtime_ns = COALESCE(p_mtime_ns, mtime_ns), ctime = p_at, ctime_ns = p_ns
  WHERE id = p_node RETURNING * INTO r;
  IF NOT FOUND THEN RAISE EXCEPTION 'node' USING ERRCODE = 'WF001'; END IF;
  PERFORM line(p_line, p_audit);
  RETURN r;
END $$;

-- `p_mode`: 0 new or not, 1 must be new, 2 must be there.
CREATE OR REPLACE FUNCTION change_xattr(p_node BIGINT, p_tag BYTEA, p_sealed BYTEA, p_mode BIGINT, p_at BIGINT, p_ns BIGINT,
  p_line BYTEA, p_audit BYTEA) RETURNS VOID LANGUAGE plpgsql AS $$
DECLARE r node; v_there BOOLEAN;
BEGIN
  r := lock_node(p_node);
  v_there := EXISTS (SELECT 1 FROM xattr WHERE node = p_node AND tag = p_tag);
  IF p_mode = 1 AND v_there THEN RAISE EXCEPTION 'taken' USING ERRCODE = 'WF002'; END IF;
  IF p_mode = 2 AND NOT v_there THEN RAISE EXCEPTION 'no attribute' USING ERRCODE = 'WF010'; END IF;
  INSERT INTO xattr (node, tag, sealed) VALUES (p_node, p_tag, p_sealed)
  ON CONFLICT (node, tag) DO UPDATE SET sealed = excluded.sealed;
  UPDATE node SET ctime = p_at, ctime_ns = p_ns WHERE id = p_node;
  PERFORM line(p_line, p_audit);
END $$;

CREATE OR REPLACE FUNCTION remove_xattr(p_node BIGINT, p_tag BYTEA, p_at BIGINT, p_ns BIGINT, p_line BYTEA, p_audit BYTEA) RETURNS VOID
LANGUAGE plpgsql AS $$
DECLARE r node;
BEGIN
  r := lock_node(p_node);
  DELETE FROM xattr WHERE node = p_node AND tag = p_tag;
  IF NOT FOUND THEN RAISE EXCEPTION 'no attribute' USING ERRCODE = 'WF010'; END IF;
  UPDATE node SET ctime = p_at, ctime_ns = p_ns WHERE id = p_node;
  PERFORM line(p_line, p_audit);
END $$;

CREATE OR REPLACE FUNCTION forget_node(p_node BIGINT) RETURNS VOID LANGUAGE plpgsql AS $$ BEGIN
  PERFORM 1 FROM node WHERE id = p_node AND nlink = 0 FOR UPDATE;
  IF FOUND THEN PERFORM delete_node(p_node); END IF;
END $$;

CREATE OR REPLACE FUNCTION forget_nameless() RETURNS BIGINT LANGUAGE plpgsql AS $$
DECLARE v_count BIGINT := 0; v_id BIGINT;
BEGIN
  FOR v_id IN SELECT id FROM node WHERE nlink = 0 ORDER BY id FOR UPDATE LOOP
    PERFORM delete_node(v_id);
    v_count := v_count + 1;
  END LOOP;
  RETURN v_count;
END $$;
