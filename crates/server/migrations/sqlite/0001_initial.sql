-- The license server's database. Times are milliseconds since 1970-01-01T00:00:00Z; secrets are
-- AES-256-GCM under the key-encryption key with table, row and column as associated data, so that a
-- sealed value that was moved to another row does not open.

-- The operator ---------------------------------------------------------------------------------

-- Facts about the operator, written once: root-certificate (DER).
CREATE TABLE settings (
    name        TEXT PRIMARY KEY,
    value       BLOB NOT NULL
) STRICT, WITHOUT ROWID;

-- Private keys and other secrets of the server. The root's private key is not among them.
CREATE TABLE secrets (
    name        TEXT PRIMARY KEY,
    sealed      BLOB NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Certificates of the operator. Of each purpose the newest is used; older request-encryption
-- certificates are still answered to until they end.
CREATE TABLE certificates (
    id          INTEGER PRIMARY KEY,
    purpose     TEXT NOT NULL CHECK (purpose IN
                ('device-authority', 'server-authority', 'license-server', 'request-encryption')),
    der         BLOB NOT NULL,
    not_after   INTEGER NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;

-- Who may use the administration interface. Only hashes of tokens are kept.
CREATE TABLE admin_tokens (
    hash        BLOB PRIMARY KEY CHECK (length(hash) = 32),
    name        TEXT NOT NULL UNIQUE,
    scope       TEXT NOT NULL CHECK (scope IN ('full', 'read')),
    created_at  INTEGER NOT NULL,
    revoked_at  INTEGER
) STRICT, WITHOUT ROWID;

-- The vault ------------------------------------------------------------------------------------

-- License key seeds by number.
CREATE TABLE seeds (
    number      INTEGER PRIMARY KEY CHECK (number > 0),
    sealed      BLOB NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;

-- One row a key id: its one type and its one source, a seed or a sealed key of its own. The
-- fingerprint is a keyed hash of the content key: no key serves under two key ids, and so never in
-- two modes. Key types are those of the license (1 AES-CTR media, 2 AES-CBC media, 3 file).
CREATE TABLE keys (
    kid         BLOB PRIMARY KEY CHECK (length(kid) = 16),
    key_type    INTEGER NOT NULL CHECK (key_type BETWEEN 1 AND 3),
    seed        INTEGER REFERENCES seeds (number),
    sealed      BLOB,
    fingerprint BLOB NOT NULL UNIQUE CHECK (length(fingerprint) = 32),
    created_at  INTEGER NOT NULL,
    CHECK ((seed IS NULL) <> (sealed IS NULL))
) STRICT, WITHOUT ROWID;

-- A registered key id keeps its type and source for good.
CREATE TRIGGER keys_are_final BEFORE UPDATE OF kid, key_type, seed, fingerprint ON keys
BEGIN
    SELECT RAISE(ABORT, 'a key id keeps its type and source');
END;

CREATE TRIGGER keys_stay BEFORE DELETE ON keys
BEGIN
    SELECT RAISE(ABORT, 'a key id stays registered');
END;

-- Who may have what ----------------------------------------------------------------------------

CREATE TABLE accounts (
    id          INTEGER PRIMARY KEY,
    name        TEXT NOT NULL UNIQUE CHECK (length(CAST(name AS BLOB)) BETWEEN 1 AND 255),
    created_at  INTEGER NOT NULL
) STRICT;

-- Terms of licenses. A change is a new version; entitlements name a policy and get its newest.
CREATE TABLE policies (
    name                    TEXT NOT NULL,
    version                 INTEGER NOT NULL CHECK (version > 0),
    begin_offset_seconds    INTEGER,
    duration_seconds        INTEGER CHECK (duration_seconds > 0),
    persistent_allowed      INTEGER NOT NULL CHECK (persistent_allowed IN (0, 1)),
    minimum_security_level  INTEGER NOT NULL CHECK (minimum_security_level IN (150, 2000, 3000)),
    created_at              INTEGER NOT NULL,
    PRIMARY KEY (name, version)
) STRICT, WITHOUT ROWID;

-- What an account may have: one key id, or all where kid is NULL.
CREATE TABLE entitlements (
    id          INTEGER PRIMARY KEY,
    account     INTEGER NOT NULL REFERENCES accounts (id),
    kid         BLOB CHECK (length(kid) = 16),
    policy      TEXT NOT NULL,
    granted_at  INTEGER NOT NULL,
    expires_at  INTEGER,
    revoked_at  INTEGER
) STRICT;

-- One live entitlement an account and key id; a new grant ends the old one.
CREATE UNIQUE INDEX entitlements_live ON entitlements (account, ifnull(kid, x'')) WHERE revoked_at IS NULL;

-- Devices --------------------------------------------------------------------------------------

-- A single-use token names the account and the profile of the device that uses it. Only its hash
-- is kept.
CREATE TABLE enrolment_tokens (
    hash            BLOB PRIMARY KEY CHECK (length(hash) = 32),
    account         INTEGER NOT NULL REFERENCES accounts (id),
    security_level  INTEGER NOT NULL CHECK (security_level IN (150, 2000, 3000)),
    maker           TEXT NOT NULL,
    model           TEXT NOT NULL,
    created_at      INTEGER NOT NULL,
    expires_at      INTEGER NOT NULL,
    used_by         BLOB REFERENCES devices (id),
    used_at         INTEGER
) STRICT, WITHOUT ROWID;

-- A device is SHA-256 of its signing key's SubjectPublicKeyInfo.
CREATE TABLE devices (
    id              BLOB PRIMARY KEY CHECK (length(id) = 32),
    account         INTEGER NOT NULL REFERENCES accounts (id),
    security_level  INTEGER NOT NULL CHECK (security_level IN (150, 2000, 3000)),
    maker           TEXT NOT NULL,
    model           TEXT NOT NULL,
    enrolled_at     INTEGER NOT NULL,
    revoked_at      INTEGER
) STRICT, WITHOUT ROWID;

-- A device's certificates. Everything that will stand in one is recorded before it is signed; der is
-- NULL until then.
CREATE TABLE device_certificates (
    serial      BLOB PRIMARY KEY CHECK (length(serial) = 16),
    device      BLOB NOT NULL REFERENCES devices (id),
    token       BLOB NOT NULL UNIQUE REFERENCES enrolment_tokens (hash),
    claims      BLOB NOT NULL,
    not_before  INTEGER NOT NULL,
    not_after   INTEGER NOT NULL,
    der         BLOB,
    created_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- The newest generation seen of each epoch of a device's store; it never falls.
CREATE TABLE store_epochs (
    device      BLOB NOT NULL REFERENCES devices (id),
    epoch       BLOB NOT NULL CHECK (length(epoch) = 16),
    generation  INTEGER NOT NULL,
    seen_at     INTEGER NOT NULL,
    PRIMARY KEY (device, epoch)
) STRICT, WITHOUT ROWID;

-- Licenses -------------------------------------------------------------------------------------

-- One row a request that was answered. results says what became of each key id; answer holds the
-- sealed response once it is signed, so that the same request gets the same bytes again. Bodies stand
-- in row order, not in the tree of random ids.
CREATE TABLE answers (
    id          INTEGER PRIMARY KEY,
    device      BLOB NOT NULL REFERENCES devices (id),
    nonce       BLOB NOT NULL CHECK (length(nonce) = 16),
    request     BLOB NOT NULL CHECK (length(request) = 32),
    results     BLOB NOT NULL,
    answered_at INTEGER NOT NULL,
    answer      BLOB,
    UNIQUE (device, nonce)
) STRICT;

-- One row a license: what was signed, recorded before it was signed.
CREATE TABLE issued (
    id              INTEGER PRIMARY KEY,
    license         BLOB NOT NULL UNIQUE CHECK (length(license) = 16),
    answer          INTEGER NOT NULL REFERENCES answers (id),
    kid             BLOB NOT NULL REFERENCES keys (kid),
    policy          TEXT NOT NULL,
    policy_version  INTEGER NOT NULL,
    body            BLOB NOT NULL,
    sealed          BLOB NOT NULL
) STRICT;

CREATE INDEX issued_by_answer ON issued (answer);

-- What an auditor asks about, besides the licenses: who enrolled, who was revoked, what was granted.
CREATE TABLE events (
    id          INTEGER PRIMARY KEY,
    at          INTEGER NOT NULL,
    kind        TEXT NOT NULL,
    subject     TEXT NOT NULL,
    detail      TEXT NOT NULL
) STRICT;
