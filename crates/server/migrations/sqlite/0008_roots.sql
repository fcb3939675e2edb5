-- Roots and what is under them, crypto periods, and channels. The key of a root opens leaf licenses and serves nothing
-- else: its key id and its value are disjoint from those of content (table keys) and of key exchange, which is checked
-- here as well as by the server.

-- One row a root: a random key of 32 bytes, sealed. accompany: with a leaf go the root's other leaves. A root stays as
-- it was made; what is under it changes.
CREATE TABLE roots (
    kid                     BLOB PRIMARY KEY CHECK (length(kid) = 16),
    name                    TEXT NOT NULL UNIQUE CHECK (length(CAST(name AS BLOB)) BETWEEN 1 AND 255),
    sealed                  BLOB NOT NULL,
    minimum_security_level  INTEGER CHECK (minimum_security_level IN (150, 2000, 3000)),
    accompany               INTEGER NOT NULL CHECK (accompany IN (0, 1)),
    created_at              INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE TRIGGER roots_are_final BEFORE UPDATE ON roots
BEGIN
    SELECT RAISE(ABORT, 'a root stays as it was made');
END;

CREATE TRIGGER roots_stay BEFORE DELETE ON roots
BEGIN
    SELECT RAISE(ABORT, 'a root stays');
END;

-- Keyed hashes of the value of each root, whole and of each 16 bytes, made as exchange_fingerprints are.
CREATE TABLE root_fingerprints (
    fingerprint BLOB PRIMARY KEY CHECK (length(fingerprint) = 32),
    root        BLOB NOT NULL REFERENCES roots (kid)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER root_fingerprints_are_final BEFORE UPDATE ON root_fingerprints
BEGIN
    SELECT RAISE(ABORT, 'the value of a root is known as one for good');
END;

CREATE TRIGGER root_fingerprints_stay BEFORE DELETE ON root_fingerprints
BEGIN
    SELECT RAISE(ABORT, 'the value of a root is known as one for good');
END;

-- The three spaces, from every side.
CREATE TRIGGER keys_are_not_of_roots BEFORE INSERT ON keys
WHEN EXISTS (SELECT 1 FROM roots WHERE kid = NEW.kid)
BEGIN
    SELECT RAISE(ABORT, 'the key id is a root''s');
END;

CREATE TRIGGER keys_have_no_value_of_roots BEFORE INSERT ON keys
WHEN EXISTS (SELECT 1 FROM root_fingerprints WHERE fingerprint = NEW.fingerprint)
BEGIN
    SELECT RAISE(ABORT, 'the key is a root''s');
END;

CREATE TRIGGER exchange_keys_are_not_of_roots BEFORE INSERT ON exchange_keys
WHEN EXISTS (SELECT 1 FROM roots WHERE kid = NEW.kid)
BEGIN
    SELECT RAISE(ABORT, 'the key id is a root''s');
END;

CREATE TRIGGER exchange_keys_have_no_value_of_roots BEFORE INSERT ON exchange_fingerprints
WHEN EXISTS (SELECT 1 FROM root_fingerprints WHERE fingerprint = NEW.fingerprint)
BEGIN
    SELECT RAISE(ABORT, 'the key is a root''s');
END;

CREATE TRIGGER roots_have_no_value_of_another_space BEFORE INSERT ON root_fingerprints
WHEN EXISTS (SELECT 1 FROM keys WHERE fingerprint = NEW.fingerprint)
  OR EXISTS (SELECT 1 FROM exchange_fingerprints WHERE fingerprint = NEW.fingerprint)
BEGIN
    SELECT RAISE(ABORT, 'the key serves content or key exchange');
END;

-- Every key id that there is, with its space, for whoever asks about one.
DROP VIEW key_ids;
CREATE VIEW key_ids (kid, space) AS
    SELECT kid, 'content' FROM keys
    UNION ALL SELECT kid, 'exchange' FROM exchange_keys
    UNION ALL SELECT kid, 'root' FROM roots;

CREATE TRIGGER roots_are_of_no_other_space BEFORE INSERT ON roots
WHEN EXISTS (SELECT 1 FROM key_ids WHERE kid = NEW.kid)
BEGIN
    SELECT RAISE(ABORT, 'the key id is registered already');
END;

DROP TRIGGER issued_names_a_key;
CREATE TRIGGER issued_names_a_key BEFORE INSERT ON issued
WHEN NOT EXISTS (SELECT 1 FROM keys WHERE kid = NEW.kid)
 AND NOT EXISTS (SELECT 1 FROM exchange_keys WHERE kid = NEW.kid)
 AND NOT EXISTS (SELECT 1 FROM roots WHERE kid = NEW.kid)
BEGIN
    SELECT RAISE(ABORT, 'a license names a registered key id');
END;

-- What is under a root: pieces of content by content id, whole or some of their crypto periods, from (inclusive) to
-- (exclusive); NULL where there is no such limit.
CREATE TABLE root_contents (
    root        BLOB NOT NULL REFERENCES roots (kid),
    content_id  TEXT NOT NULL CHECK (length(CAST(content_id AS BLOB)) BETWEEN 1 AND 255),
    from_period INTEGER CHECK (from_period BETWEEN 0 AND 281474976710656),
    to_period   INTEGER CHECK (to_period BETWEEN 1 AND 281474976710656),
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (root, content_id),
    CHECK (from_period IS NULL OR to_period IS NULL OR from_period < to_period)
) STRICT, WITHOUT ROWID;

CREATE INDEX root_contents_by_content ON root_contents (content_id);

-- Single keys of content under a root.
CREATE TABLE root_keys (
    root        BLOB NOT NULL REFERENCES roots (kid),
    kid         BLOB NOT NULL REFERENCES keys (kid),
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (root, kid)
) STRICT, WITHOUT ROWID;

CREATE INDEX root_keys_by_key ON root_keys (kid);

-- Crypto periods of a piece of content that have no leaf under a root, whatever is under it; to_period is NULL where
-- they end with nothing.
CREATE TABLE blackouts (
    id          INTEGER PRIMARY KEY,
    root        BLOB NOT NULL REFERENCES roots (kid),
    content_id  TEXT NOT NULL CHECK (length(CAST(content_id AS BLOB)) BETWEEN 1 AND 255),
    from_period INTEGER NOT NULL CHECK (from_period BETWEEN 0 AND 281474976710656),
    to_period   INTEGER CHECK (to_period > from_period AND to_period <= 281474976710656),
    created_at  INTEGER NOT NULL
) STRICT;

CREATE INDEX blackouts_by_content ON blackouts (content_id, root);

-- Tracks have a key for each crypto period. -1: the content has none. SQLite changes no primary key of a table that is
-- there.
CREATE TABLE tracks_of_periods (
    content_id  TEXT NOT NULL CHECK (length(CAST(content_id AS BLOB)) BETWEEN 1 AND 255),
    period      INTEGER NOT NULL CHECK (period BETWEEN -1 AND 281474976710655),
    label       TEXT NOT NULL CHECK (length(CAST(label AS BLOB)) BETWEEN 1 AND 64),
    key_type    INTEGER NOT NULL CHECK (key_type BETWEEN 1 AND 3),
    kid         BLOB NOT NULL UNIQUE REFERENCES keys (kid),
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (content_id, period, label, key_type)
) STRICT, WITHOUT ROWID;

INSERT INTO tracks_of_periods (content_id, period, label, key_type, kid, created_at)
    SELECT content_id, -1, label, key_type, kid, created_at FROM tracks;
DROP TABLE tracks;
ALTER TABLE tracks_of_periods RENAME TO tracks;

CREATE TRIGGER tracks_are_final BEFORE UPDATE ON tracks
BEGIN
    SELECT RAISE(ABORT, 'a track keeps its key id');
END;

CREATE TRIGGER tracks_stay BEFORE DELETE ON tracks
BEGIN
    SELECT RAISE(ABORT, 'a track keeps its key id');
END;

-- How the crypto periods of a piece of content lie in time: how long one is, when the one of index 0 begins (NULL where
-- they follow no clock), and over how much of one the requests for what comes next are spread.
CREATE TABLE channels (
    content_id              TEXT PRIMARY KEY CHECK (length(CAST(content_id AS BLOB)) BETWEEN 1 AND 255),
    period_seconds          INTEGER NOT NULL CHECK (period_seconds BETWEEN 1 AND 31536000),
    anchor                  INTEGER,
    renewal_spread_seconds  INTEGER NOT NULL
                            CHECK (renewal_spread_seconds BETWEEN 0 AND period_seconds * 3 / 4),
    created_at              INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row a leaf license that was given to a packager: what was signed, recorded before it was signed.
CREATE TABLE packaged_leaves (
    id          INTEGER PRIMARY KEY,
    license     BLOB NOT NULL UNIQUE CHECK (length(license) = 16),
    packaging   INTEGER NOT NULL REFERENCES packagings (id),
    root        BLOB NOT NULL REFERENCES roots (kid),
    kid         BLOB NOT NULL REFERENCES keys (kid),
    body        BLOB NOT NULL,
    sealed      BLOB NOT NULL,
    UNIQUE (packaging, root, kid)
) STRICT;

-- When clients should ask for what comes next, as the answer says.
ALTER TABLE answers ADD COLUMN renew_at INTEGER;
