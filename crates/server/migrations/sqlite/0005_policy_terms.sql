-- Policies hold all the terms that a license may have: as one JSON document, which the server checks when it is
-- written (crates/server/src/policy.rs). What stood in columns is taken over; absent terms are left out.
CREATE TABLE policies_of_documents (
    name        TEXT NOT NULL,
    version     INTEGER NOT NULL CHECK (version > 0),
    terms       TEXT NOT NULL CHECK (json_valid(terms)),
    created_at  INTEGER NOT NULL,
    PRIMARY KEY (name, version)
) STRICT, WITHOUT ROWID;

INSERT INTO policies_of_documents (name, version, terms, created_at)
    SELECT name, version,
           json_patch('{}', json_object(
               'begin_offset_seconds', begin_offset_seconds,
               'duration_seconds', duration_seconds,
               'persistent_allowed', json(iif(persistent_allowed, 'true', 'false')),
               'minimum_security_level', minimum_security_level)),
           created_at
    FROM policies;
DROP TABLE policies;
ALTER TABLE policies_of_documents RENAME TO policies;

-- What a license was issued under can be read for good: a change is a new version.
CREATE TRIGGER policies_are_final BEFORE UPDATE ON policies
BEGIN
    SELECT RAISE(ABORT, 'a version of a policy stays as it is');
END;

CREATE TRIGGER policies_stay BEFORE DELETE ON policies
BEGIN
    SELECT RAISE(ABORT, 'a version of a policy stays');
END;

-- Smallest security level of a device that gets the key, besides what the policy asks for: a picture of the best
-- quality may have a key for fewer devices. NULL where the policy alone decides.
ALTER TABLE keys ADD COLUMN minimum_security_level INTEGER
    CHECK (minimum_security_level IN (150, 2000, 3000));
