-- PostgreSQL only, where several servers reach one database: which of them runs the apps, by an id
-- that each start takes anew. Who writes locks this row first, so that writers take turns, and a
-- server that was replaced writes nothing.
CREATE TABLE server (
    id  BIGINT PRIMARY KEY CHECK (id = 1),
    run TEXT NOT NULL
);
INSERT INTO server (id, run) VALUES (1, '');
