-- Each statement that changes a row marks it, in the same transaction: no code can forget to. The keys of rows never change. The
-- journal's own extents are left out: otherwise each segment would call for another. Which shares of an extent are owed is no
-- change of it. The order of numbers is not the order of commits: what was handed out is taken away by its exact numbers.

CREATE OR REPLACE FUNCTION mark(p_kind BIGINT, p_node BIGINT, p_id BYTEA, p_place BIGINT, p_version BIGINT) RETURNS VOID
LANGUAGE plpgsql AS $$ BEGIN
  INSERT INTO changed (kind, node, id, place, version) VALUES (p_kind, p_node, p_id, p_place, p_version)
  ON CONFLICT (kind, node, id, place, version) DO UPDATE SET seq = nextval('changed_seq');
END $$;

CREATE OR REPLACE FUNCTION mark_node() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
  IF TG_OP = 'DELETE' THEN PERFORM mark(1, OLD.id, '', 0, 0); ELSE PERFORM mark(1, NEW.id, '', 0, 0); END IF;
  RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION mark_entry() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
  IF TG_OP = 'DELETE' THEN PERFORM mark(2, OLD.parent, OLD.tag, 0, 0); ELSE PERFORM mark(2, NEW.parent, NEW.tag, 0, 0); END IF;
  RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION mark_link() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
  IF TG_OP = 'DELETE' THEN PERFORM mark(3, OLD.node, '', 0, 0); ELSE PERFORM mark(3, NEW.node, '', 0, 0); END IF;
  RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION mark_xattr() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
  IF TG_OP = 'DELETE' THEN PERFORM mark(4, OLD.node, OLD.tag, 0, 0); ELSE PERFORM mark(4, NEW.node, NEW.tag, 0, 0); END IF;
  RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION mark_version() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
  IF TG_OP = 'DELETE' THEN PERFORM mark(5, 0, OLD.document, 0, OLD.number); ELSE PERFORM mark(5, 0, NEW.document, 0, NEW.number); END IF;
  RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION mark_layout() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
  IF TG_OP = 'DELETE' THEN PERFORM mark(6, 0, OLD.document, OLD.no, OLD.from_version);
  ELSE PERFORM mark(6, 0, NEW.document, NEW.no, NEW.from_version); END IF;
  RETURN NULL;
END $$;
CREATE OR REPLACE FUNCTION mark_extent() RETURNS TRIGGER LANGUAGE plpgsql AS $$ BEGIN
  IF TG_OP = 'DELETE' THEN
    IF OLD.kind <> 3 THEN PERFORM mark(7, 0, OLD.id, 0, 0); END IF;
  ELSIF NEW.kind <> 3 THEN PERFORM mark(7, 0, NEW.id, 0, 0); END IF;
  RETURN NULL;
END $$;

CREATE TRIGGER changes AFTER INSERT OR UPDATE OR DELETE ON node FOR EACH ROW EXECUTE FUNCTION mark_node();
CREATE TRIGGER changes AFTER INSERT OR UPDATE OR DELETE ON entry FOR EACH ROW EXECUTE FUNCTION mark_entry();
CREATE TRIGGER changes AFTER INSERT OR UPDATE OR DELETE ON link FOR EACH ROW EXECUTE FUNCTION mark_link();
CREATE TRIGGER changes AFTER INSERT OR UPDATE OR DELETE ON xattr FOR EACH ROW EXECUTE FUNCTION mark_xattr();
CREATE TRIGGER changes AFTER INSERT OR UPDATE OR DELETE ON version FOR EACH ROW EXECUTE FUNCTION mark_version();
CREATE TRIGGER changes AFTER INSERT OR UPDATE OR DELETE ON layout FOR EACH ROW EXECUTE FUNCTION mark_layout();
CREATE TRIGGER changes AFTER INSERT OR DELETE
  OR UPDATE OF id, kind, number, len, k, n, scheme, generation, document, version ON extent FOR EACH ROW EXECUTE FUNCTION mark_extent();
