-- Licenses are found by the answer that they are in. An index of their ids, which are random, had a page of its own to
-- write for nearly every license, and nothing asked it: ids are drawn from 128 bits.
DROP TRIGGER issued_names_a_key;

CREATE TABLE issued_in_order (
    id              INTEGER PRIMARY KEY,
    license         BLOB NOT NULL CHECK (length(license) = 16),
    answer          INTEGER NOT NULL REFERENCES answers (id),
    kid             BLOB NOT NULL,
    policy          TEXT NOT NULL,
    policy_version  INTEGER NOT NULL,
    body            BLOB NOT NULL,
    sealed          BLOB NOT NULL
) STRICT;

INSERT INTO issued_in_order (id, license, answer, kid, policy, policy_version, body, sealed)
    SELECT id, license, answer, kid, policy, policy_version, body, sealed FROM issued ORDER BY id;
DROP TABLE issued;
ALTER TABLE issued_in_order RENAME TO issued;

-- An answer's licenses, each once.
CREATE UNIQUE INDEX issued_by_answer ON issued (answer, license);

CREATE TRIGGER issued_names_a_key BEFORE INSERT ON issued
WHEN NOT EXISTS (SELECT 1 FROM keys WHERE kid = NEW.kid)
 AND NOT EXISTS (SELECT 1 FROM exchange_keys WHERE kid = NEW.kid)
 AND NOT EXISTS (SELECT 1 FROM roots WHERE kid = NEW.kid)
BEGIN
    SELECT RAISE(ABORT, 'a license names a registered key id');
END;
