-- Rolls: keys of one purpose that follow one another, and a key-encryption key that follows another.

-- Which key of its purpose a certificate is for, counted from 0. In table secrets the first has the name of the
-- purpose; each later one has `/` and its number behind that.
ALTER TABLE certificates ADD COLUMN key INTEGER NOT NULL DEFAULT 0 CHECK (key >= 0);

-- A new key of an authority, and what the certificate will say that the root is to sign for it. One of a purpose at a
-- time; the row goes when the certificate comes.
CREATE TABLE authority_requests (
    purpose     TEXT PRIMARY KEY CHECK (purpose IN ('device-authority', 'packager-authority', 'server-authority')),
    key         INTEGER NOT NULL CHECK (key >= 0),
    serial      BLOB NOT NULL CHECK (length(serial) = 16),
    not_before  INTEGER NOT NULL,
    not_after   INTEGER NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- A seed that came from elsewhere: who follows the newest does not follow to it. Until now every seed but the first did.
ALTER TABLE seeds ADD COLUMN imported INTEGER NOT NULL DEFAULT 0 CHECK (imported IN (0, 1));
UPDATE seeds SET imported = 1 WHERE number > 1;

-- A row while everything that is sealed is sealed under another key-encryption key, inside that one transaction.
CREATE TABLE resealing (
    one         INTEGER PRIMARY KEY CHECK (one = 1)
) STRICT;

DROP TRIGGER roots_are_final;
CREATE TRIGGER roots_are_final
BEFORE UPDATE OF kid, name, minimum_security_level, accompany, created_at ON roots
BEGIN
    SELECT RAISE(ABORT, 'a root stays as it was made');
END;

CREATE TRIGGER roots_keep_their_key BEFORE UPDATE OF sealed ON roots
WHEN NOT EXISTS (SELECT 1 FROM resealing)
BEGIN
    SELECT RAISE(ABORT, 'a root stays as it was made');
END;

DROP TRIGGER exchange_key_versions_are_only_destroyed;
CREATE TRIGGER exchange_key_versions_are_only_destroyed BEFORE UPDATE OF sealed ON exchange_key_versions
WHEN NEW.sealed IS NOT NULL AND (OLD.sealed IS NULL OR NOT EXISTS (SELECT 1 FROM resealing))
BEGIN
    SELECT RAISE(ABORT, 'a version of an exchange key is destroyed, never replaced');
END;

DROP TRIGGER exchange_keys_destroyed;
CREATE TRIGGER exchange_keys_destroyed AFTER UPDATE OF sealed ON exchange_key_versions
WHEN NEW.sealed IS NULL
BEGIN
    UPDATE exchange_keys SET revision = revision + 1 WHERE kid = NEW.kid;
END;

-- A device may have a certificate for its earlier one, without a token: then token is NULL. SQLite takes no NOT NULL away
-- from a column of a table that is there.
CREATE TABLE device_certificates_with_renewals (
    serial      BLOB PRIMARY KEY CHECK (length(serial) = 16),
    device      BLOB NOT NULL REFERENCES devices (id),
    token       BLOB UNIQUE REFERENCES enrolment_tokens (hash),
    claims      BLOB NOT NULL,
    not_before  INTEGER NOT NULL,
    not_after   INTEGER NOT NULL,
    der         BLOB,
    created_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO device_certificates_with_renewals
        (serial, device, token, claims, not_before, not_after, der, created_at)
    SELECT serial, device, token, claims, not_before, not_after, der, created_at FROM device_certificates;
DROP TABLE device_certificates;
ALTER TABLE device_certificates_with_renewals RENAME TO device_certificates;
CREATE INDEX device_certificates_by_device ON device_certificates (device);
