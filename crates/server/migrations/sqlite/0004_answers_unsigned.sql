-- Signed answers are not kept: a request that comes again is answered from what was recorded. They were most of
-- the database.
ALTER TABLE answers DROP COLUMN answer;
