-- What is no longer trusted, the lists that say so, and what clients acknowledge.

-- Receipts and the operator's own revocation list have signers of their own. SQLite changes no CHECK of a table that is
-- there.
CREATE TABLE certificates_of_more_purposes (
    id          INTEGER PRIMARY KEY,
    purpose     TEXT NOT NULL CHECK (purpose IN
                ('device-authority', 'packager-authority', 'server-authority', 'license-server',
                 'request-encryption', 'receipt', 'revocation-list')),
    der         BLOB NOT NULL,
    not_after   INTEGER NOT NULL,
    created_at  INTEGER NOT NULL
) STRICT;

INSERT INTO certificates_of_more_purposes (id, purpose, der, not_after, created_at)
    SELECT id, purpose, der, not_after, created_at FROM certificates;
DROP TABLE certificates;
ALTER TABLE certificates_of_more_purposes RENAME TO certificates;

-- Certificates that the lists of the authorities name, by the serial number as it stands in the certificate. Each
-- authority of the purpose names them, whichever of them issued the certificate: serial numbers are random.
CREATE TABLE revoked_certificates (
    serial          BLOB PRIMARY KEY CHECK (length(serial) BETWEEN 1 AND 20),
    authority       TEXT NOT NULL
                    CHECK (authority IN ('device-authority', 'packager-authority', 'server-authority')),
    not_after       INTEGER NOT NULL,
    revoked_at      INTEGER NOT NULL,
    invalid_since   INTEGER,
    reason          TEXT CHECK (reason IN ('key-compromise', 'authority-compromise', 'superseded',
                                           'cessation-of-operation', 'privilege-withdrawn'))
) STRICT, WITHOUT ROWID;

CREATE INDEX revoked_certificates_by_authority ON revoked_certificates (authority, serial);

-- Devices and packagers that were revoked before there were lists. A certificate's serial number is what stands in the
-- row, made positive and of full length.
INSERT INTO revoked_certificates (serial, authority, not_after, revoked_at)
    SELECT unhex(substr('0123456789ABCDEF',
                        (((instr('0123456789ABCDEF', substr(hex(c.serial), 1, 1)) - 1) & 7) | 4) + 1, 1)
                 || substr(hex(c.serial), 2)),
           d.role || '-authority', c.not_after, d.revoked_at
    FROM devices d JOIN device_certificates c ON c.device = d.id
    WHERE d.revoked_at IS NOT NULL;

-- The operator's own list: models, or whole companies where model is NULL, and certificates that are exempt from these.
CREATE TABLE revoked_models (
    id                  INTEGER PRIMARY KEY,
    maker               TEXT NOT NULL CHECK (length(CAST(maker AS BLOB)) BETWEEN 1 AND 255),
    model               TEXT CHECK (length(CAST(model AS BLOB)) BETWEEN 1 AND 255),
    robustness_below    INTEGER CHECK (robustness_below > 0),
    since               INTEGER NOT NULL,
    reason              TEXT CHECK (length(CAST(reason AS BLOB)) BETWEEN 1 AND 255),
    created_at          INTEGER NOT NULL
) STRICT;

CREATE UNIQUE INDEX revoked_models_once ON revoked_models (maker, ifnull(model, ''));

CREATE TABLE allowed_certificates (
    digest      BLOB PRIMARY KEY CHECK (length(digest) = 32),
    created_at  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- Counts the changes of what a list says, so that who holds lists knows whether they still say it.
CREATE TABLE revocation_generations (
    list        TEXT PRIMARY KEY,
    generation  INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

INSERT INTO revocation_generations (list, generation) VALUES
    ('device-authority', 0), ('packager-authority', 0), ('server-authority', 0), ('own', 0), ('imported', 0);

-- Lists that this server signs, by SHA-256 of the authority's key (SubjectPublicKeyInfo); the operator's own has none,
-- x''. A number and what it stands for is written before it is signed, and list is NULL until then. Of each the newest
-- signed one is kept, and the newest number.
CREATE TABLE revocation_lists (
    authority   BLOB NOT NULL CHECK (length(authority) IN (0, 32)),
    number      INTEGER NOT NULL CHECK (number > 0),
    generation  INTEGER NOT NULL,
    this_update INTEGER NOT NULL,
    next_update INTEGER NOT NULL CHECK (next_update > this_update),
    list        BLOB,
    PRIMARY KEY (authority, number)
) STRICT;

-- Lists that others sign: the root's, by its key identifier.
CREATE TABLE imported_lists (
    authority   BLOB PRIMARY KEY CHECK (length(authority) BETWEEN 1 AND 64),
    list        BLOB NOT NULL,
    imported_at INTEGER NOT NULL
) STRICT, WITHOUT ROWID;

-- One row an answer that is to be acknowledged; nonce, request and results are those of the acknowledgement.
CREATE TABLE transactions (
    id              BLOB PRIMARY KEY CHECK (length(id) = 16),
    answer          INTEGER NOT NULL UNIQUE REFERENCES answers (id),
    device          BLOB NOT NULL REFERENCES devices (id),
    nonce           BLOB CHECK (length(nonce) = 16),
    request         BLOB CHECK (length(request) = 32),
    results         BLOB,
    acknowledged_at INTEGER,
    CHECK ((nonce IS NULL) = (acknowledged_at IS NULL)
       AND (request IS NULL) = (acknowledged_at IS NULL)
       AND (results IS NULL) = (acknowledged_at IS NULL))
) STRICT, WITHOUT ROWID;

CREATE UNIQUE INDEX transactions_by_nonce ON transactions (device, nonce) WHERE nonce IS NOT NULL;

CREATE TRIGGER acknowledgements_are_final BEFORE UPDATE ON transactions WHEN OLD.acknowledged_at IS NOT NULL
BEGIN
    SELECT RAISE(ABORT, 'an acknowledgement stays as it is');
END;
