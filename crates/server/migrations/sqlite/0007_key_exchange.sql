-- Key exchange: keys for the application's own data, never for content. Exchange keys and the keys of content (table
-- keys) are disjoint: by key id, and by value, which fingerprints tell. What the server checks is checked here again.

-- One row an exchange key: its one algorithm (COSE number) and the one operation that clients get (COSE key_ops
-- number); the server performs the mirror operation. minimum_version is the least version that is still accepted.
-- beside names the exchange key in whose licenses this one travels as well. revision grows with every change, so that
-- a license is not recorded that was decided before it.
CREATE TABLE exchange_keys (
    kid                     BLOB PRIMARY KEY CHECK (length(kid) = 16),
    name                    TEXT NOT NULL CHECK (length(CAST(name AS BLOB)) BETWEEN 1 AND 255),
    algorithm               INTEGER NOT NULL CHECK (algorithm IN
                            (1, 3, 5, 6, 7, -3, -5, -9, -19, -65529, -65531, -65532, -65534)),
    operation               INTEGER NOT NULL CHECK (operation BETWEEN 1 AND 6),
    context                 BLOB CHECK (length(context) BETWEEN 1 AND 255),
    uses                    INTEGER CHECK (uses BETWEEN 1 AND 4294967296),
    minimum_version         INTEGER NOT NULL DEFAULT 1 CHECK (minimum_version > 0),
    minimum_security_level  INTEGER CHECK (minimum_security_level IN (150, 2000, 3000)),
    beside                  BLOB REFERENCES exchange_keys (kid) CHECK (beside <> kid),
    state                   TEXT NOT NULL DEFAULT 'enabled' CHECK (state IN ('enabled', 'disabled', 'destroyed')),
    revision                INTEGER NOT NULL DEFAULT 1,
    created_at              INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

CREATE INDEX exchange_keys_beside ON exchange_keys (beside) WHERE beside IS NOT NULL;

CREATE TRIGGER exchange_keys_are_final
BEFORE UPDATE OF kid, name, algorithm, operation, context, uses, beside, created_at ON exchange_keys
BEGIN
    SELECT RAISE(ABORT, 'an exchange key keeps its algorithm, operation, context and use limit');
END;

CREATE TRIGGER exchange_keys_stay BEFORE DELETE ON exchange_keys
BEGIN
    SELECT RAISE(ABORT, 'an exchange key stays registered');
END;

CREATE TRIGGER exchange_keys_stay_destroyed BEFORE UPDATE OF state ON exchange_keys
WHEN OLD.state = 'destroyed' AND NEW.state <> 'destroyed'
BEGIN
    SELECT RAISE(ABORT, 'an exchange key that was destroyed stays so');
END;

CREATE TRIGGER exchange_keys_minimum BEFORE UPDATE OF minimum_version ON exchange_keys
WHEN NEW.minimum_version > ifnull((SELECT max(version) FROM exchange_key_versions WHERE kid = NEW.kid), 1)
  OR NEW.minimum_version < OLD.minimum_version AND NEW.minimum_version <= ifnull(
      (SELECT max(version) FROM exchange_key_versions WHERE kid = NEW.kid AND sealed IS NULL), 0)
BEGIN
    SELECT RAISE(ABORT, 'the minimum version is not above the newest, and not lowered to one that was destroyed');
END;

CREATE TRIGGER exchange_keys_revised
AFTER UPDATE OF minimum_version, minimum_security_level, state ON exchange_keys
BEGIN
    UPDATE exchange_keys SET revision = OLD.revision + 1 WHERE kid = NEW.kid;
END;

-- The versions of an exchange key, each sealed: the secret, or the private half. A destroyed one is NULL. messages
-- counts what the server encrypted with it in GCM, of which one key bears 2^32 (NIST SP 800-38D, 8.3).
CREATE TABLE exchange_key_versions (
    kid         BLOB NOT NULL REFERENCES exchange_keys (kid),
    version     INTEGER NOT NULL CHECK (version BETWEEN 1 AND 4294967295),
    sealed      BLOB,
    messages    INTEGER NOT NULL DEFAULT 0 CHECK (messages BETWEEN 0 AND 4294967296),
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (kid, version)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER exchange_key_versions_follow BEFORE INSERT ON exchange_key_versions
WHEN NEW.version <> 1 + ifnull((SELECT max(version) FROM exchange_key_versions WHERE kid = NEW.kid), 0)
  OR (SELECT state FROM exchange_keys WHERE kid = NEW.kid) = 'destroyed'
BEGIN
    SELECT RAISE(ABORT, 'versions of an exchange key follow one another, and none that was destroyed');
END;

CREATE TRIGGER exchange_key_versions_are_final BEFORE UPDATE OF kid, version, created_at ON exchange_key_versions
BEGIN
    SELECT RAISE(ABORT, 'a version of an exchange key stays as it is');
END;

CREATE TRIGGER exchange_key_versions_are_only_destroyed BEFORE UPDATE OF sealed ON exchange_key_versions
WHEN NEW.sealed IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'a version of an exchange key is destroyed, never replaced');
END;

CREATE TRIGGER exchange_key_versions_count_up BEFORE UPDATE OF messages ON exchange_key_versions
WHEN NEW.messages < OLD.messages
BEGIN
    SELECT RAISE(ABORT, 'the messages of a version are not forgotten');
END;

CREATE TRIGGER exchange_key_versions_stay BEFORE DELETE ON exchange_key_versions
BEGIN
    SELECT RAISE(ABORT, 'a version of an exchange key stays');
END;

CREATE TRIGGER exchange_keys_rotated AFTER INSERT ON exchange_key_versions
BEGIN
    UPDATE exchange_keys SET revision = revision + 1 WHERE kid = NEW.kid;
END;

CREATE TRIGGER exchange_keys_destroyed AFTER UPDATE OF sealed ON exchange_key_versions
BEGIN
    UPDATE exchange_keys SET revision = revision + 1 WHERE kid = NEW.kid;
END;

-- Keyed hashes of every value that ever was an exchange key: of the whole, and of each 16 bytes of a longer one, made
-- as keys.fingerprint is. They outlive the values, which so never come back.
CREATE TABLE exchange_fingerprints (
    fingerprint BLOB PRIMARY KEY CHECK (length(fingerprint) = 32),
    kid         BLOB NOT NULL,
    version     INTEGER NOT NULL,
    FOREIGN KEY (kid, version) REFERENCES exchange_key_versions (kid, version)
) STRICT, WITHOUT ROWID;

CREATE TRIGGER exchange_fingerprints_are_final BEFORE UPDATE ON exchange_fingerprints
BEGIN
    SELECT RAISE(ABORT, 'a value that was an exchange key is known as one for good');
END;

CREATE TRIGGER exchange_fingerprints_stay BEFORE DELETE ON exchange_fingerprints
BEGIN
    SELECT RAISE(ABORT, 'a value that was an exchange key is known as one for good');
END;

-- The two spaces, from both sides.
CREATE TRIGGER keys_are_not_of_exchange BEFORE INSERT ON keys
WHEN EXISTS (SELECT 1 FROM exchange_keys WHERE kid = NEW.kid)
BEGIN
    SELECT RAISE(ABORT, 'the key id is registered for key exchange');
END;

CREATE TRIGGER keys_have_no_value_of_exchange BEFORE INSERT ON keys
WHEN EXISTS (SELECT 1 FROM exchange_fingerprints WHERE fingerprint = NEW.fingerprint)
BEGIN
    SELECT RAISE(ABORT, 'the key serves key exchange, or did');
END;

CREATE TRIGGER exchange_keys_are_not_of_content BEFORE INSERT ON exchange_keys
WHEN EXISTS (SELECT 1 FROM keys WHERE kid = NEW.kid)
BEGIN
    SELECT RAISE(ABORT, 'the key id is registered for content');
END;

CREATE TRIGGER exchange_keys_have_no_value_of_content BEFORE INSERT ON exchange_fingerprints
WHEN EXISTS (SELECT 1 FROM keys WHERE fingerprint = NEW.fingerprint)
BEGIN
    SELECT RAISE(ABORT, 'the key serves content');
END;

-- Every key id that there is, of either space, for whoever asks about one.
CREATE VIEW key_ids (kid, exchange) AS
    SELECT kid, 0 FROM keys UNION ALL SELECT kid, 1 FROM exchange_keys;

-- Licenses name a key id of either space, which no foreign key can say.
CREATE TABLE issued_of_either (
    id              INTEGER PRIMARY KEY,
    license         BLOB NOT NULL UNIQUE CHECK (length(license) = 16),
    answer          INTEGER NOT NULL REFERENCES answers (id),
    kid             BLOB NOT NULL,
    policy          TEXT NOT NULL,
    policy_version  INTEGER NOT NULL,
    body            BLOB NOT NULL,
    sealed          BLOB NOT NULL
) STRICT;

INSERT INTO issued_of_either (id, license, answer, kid, policy, policy_version, body, sealed)
    SELECT id, license, answer, kid, policy, policy_version, body, sealed FROM issued;
DROP TABLE issued;
ALTER TABLE issued_of_either RENAME TO issued;
CREATE INDEX issued_by_answer ON issued (answer);

CREATE TRIGGER issued_names_a_key BEFORE INSERT ON issued
WHEN NOT EXISTS (SELECT 1 FROM keys WHERE kid = NEW.kid)
 AND NOT EXISTS (SELECT 1 FROM exchange_keys WHERE kid = NEW.kid)
BEGIN
    SELECT RAISE(ABORT, 'a license names a registered key id');
END;

-- What the server did with its exchange keys: one row a call, written before the results leave; a stream's row is
-- written when it begins, and its end is noted. version is NULL where there is none, or more than one.
CREATE TABLE exchange_uses (
    id          INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    kid         BLOB NOT NULL REFERENCES exchange_keys (kid),
    version     INTEGER,
    operation   INTEGER NOT NULL CHECK (operation BETWEEN 1 AND 6),
    items       INTEGER NOT NULL CHECK (items >= 0),
    failed      INTEGER NOT NULL CHECK (failed BETWEEN 0 AND items),
    bytes       INTEGER NOT NULL CHECK (bytes >= 0),
    caller      TEXT NOT NULL,
    outcome     TEXT NOT NULL CHECK (outcome IN ('begun', 'done', 'partly', 'failed', 'refused', 'aborted'))
) STRICT;

CREATE INDEX exchange_uses_by_key ON exchange_uses (kid, id);

CREATE TRIGGER exchange_uses_are_final BEFORE UPDATE ON exchange_uses
WHEN OLD.outcome <> 'begun' OR NEW.id <> OLD.id OR NEW.at <> OLD.at OR NEW.kid <> OLD.kid
  OR NEW.operation <> OLD.operation OR NEW.caller <> OLD.caller
BEGIN
    SELECT RAISE(ABORT, 'a use stays as it was recorded');
END;

CREATE TRIGGER exchange_uses_stay BEFORE DELETE ON exchange_uses
BEGIN
    SELECT RAISE(ABORT, 'a use stays recorded');
END;

-- Who may have mirror operations performed, and nothing else. Only hashes of tokens are kept.
CREATE TABLE exchange_tokens (
    hash        BLOB PRIMARY KEY CHECK (length(hash) = 32),
    name        TEXT NOT NULL UNIQUE CHECK (length(CAST(name AS BLOB)) BETWEEN 1 AND 64),
    every_key   INTEGER NOT NULL CHECK (every_key IN (0, 1)),
    created_at  INTEGER NOT NULL,
    revoked_at  INTEGER
) STRICT, WITHOUT ROWID;

-- The keys of a token that is not for every one.
CREATE TABLE exchange_token_keys (
    token       BLOB NOT NULL REFERENCES exchange_tokens (hash),
    kid         BLOB NOT NULL REFERENCES exchange_keys (kid),
    PRIMARY KEY (token, kid)
) STRICT, WITHOUT ROWID;
