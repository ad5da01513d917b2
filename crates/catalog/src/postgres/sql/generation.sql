
-- Where the vault stands with its generations: one row.
CREATE TABLE generation (
  id BIGINT PRIMARY KEY, current BIGINT NOT NULL, wanted BIGINT NOT NULL,
  begun BIGINT, begun_ns BIGINT, ended BIGINT, ended_ns BIGINT);
INSERT INTO generation (id, current, wanted) VALUES (1, 1, 1);
