-- Who may have what, said by others than the rows: by authorization tokens, a webhook, a handler in Rust.

-- What was good for one answer and is used up, by who issued it and SHA-256 of its id. A row may go when what it names
-- would be refused for its age.
CREATE TABLE used_authorizations (
    issuer      TEXT NOT NULL,
    id          BLOB NOT NULL CHECK (length(id) = 32),
    until       INTEGER NOT NULL,
    used_at     INTEGER NOT NULL,
    PRIMARY KEY (issuer, id)
) STRICT, WITHOUT ROWID;

CREATE INDEX used_authorizations_until ON used_authorizations (until);

-- What a handler says to the application, in the signed response.
ALTER TABLE answers ADD COLUMN custom_data BLOB;
