-- Services that carry requests, such as a proxy. Only hashes of their tokens are kept. A service token
-- permits nothing but to be named: it is in no table that grants anything.
CREATE TABLE service_tokens (
    hash        BLOB PRIMARY KEY CHECK (length(hash) = 32),
    name        TEXT NOT NULL UNIQUE CHECK (length(CAST(name AS BLOB)) BETWEEN 1 AND 64),
    created_at  INTEGER NOT NULL,
    revoked_at  INTEGER
) STRICT, WITHOUT ROWID;
