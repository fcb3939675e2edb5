-- Packagers: an authority and a role of their own, and what they were given.

-- SQLite changes no CHECK of a table that is there.
CREATE TABLE certificates_with_packagers (
    id          INTEGER PRIMARY KEY,
    purpose     TEXT NOT NULL CHECK (purpose IN
                ('device-authority', 'packager-authority', 'server-authority', 'license-server',
                 'request-encryption')),
    der         BLOB NOT NULL,
    not_after   INTEGER NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;

INSERT INTO certificates_with_packagers (id, purpose, der, not_after, created_at)
    SELECT id, purpose, der, not_after, created_at FROM certificates;
DROP TABLE certificates;
ALTER TABLE certificates_with_packagers RENAME TO certificates;

-- A token is for one role. A key is enrolled in one role for good: devices holds devices and packagers.
ALTER TABLE enrolment_tokens ADD COLUMN role TEXT NOT NULL DEFAULT 'device'
    CHECK (role IN ('device', 'packager'));
ALTER TABLE devices ADD COLUMN role TEXT NOT NULL DEFAULT 'device'
    CHECK (role IN ('device', 'packager'));

CREATE TRIGGER roles_are_final BEFORE UPDATE OF role ON devices WHEN OLD.role <> NEW.role
BEGIN
    SELECT RAISE(ABORT, 'a key keeps its role');
END;

-- One row a track: the same content id, label and key type get the same key id, for good.
CREATE TABLE tracks (
    content_id  TEXT NOT NULL CHECK (length(CAST(content_id AS BLOB)) BETWEEN 1 AND 255),
    label       TEXT NOT NULL CHECK (length(CAST(label AS BLOB)) BETWEEN 1 AND 64),
    key_type    INTEGER NOT NULL CHECK (key_type BETWEEN 1 AND 3),
    kid         BLOB NOT NULL UNIQUE REFERENCES keys (kid),
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (content_id, label, key_type)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER tracks_are_final BEFORE UPDATE ON tracks
BEGIN
    SELECT RAISE(ABORT, 'a track keeps its key id');
END;

CREATE TRIGGER tracks_stay BEFORE DELETE ON tracks
BEGIN
    SELECT RAISE(ABORT, 'a track keeps its key id');
END;

-- One row a packaging request that was answered: what was signed, recorded before it was signed, and the
-- sealed response once it is signed, so that the same request gets the same bytes again.
CREATE TABLE packagings (
    id          INTEGER PRIMARY KEY,
    packager    BLOB NOT NULL REFERENCES devices (id),
    nonce       BLOB NOT NULL CHECK (length(nonce) = 16),
    request     BLOB NOT NULL CHECK (length(request) = 32),
    body        BLOB NOT NULL,
    sealed      BLOB NOT NULL,
    answered_at INTEGER NOT NULL,
    answer      BLOB,
    UNIQUE (packager, nonce)
) STRICT;
