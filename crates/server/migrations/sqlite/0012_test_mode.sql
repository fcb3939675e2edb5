-- A test operator issues licenses for key ids that nobody has registered: their keys derive from the published test key
-- seed, or are what a request names. It says so in its settings, from when it was made. For everybody else a license
-- names a registered key id, as before.
DROP TRIGGER issued_names_a_key;
CREATE TRIGGER issued_names_a_key BEFORE INSERT ON issued
WHEN NOT EXISTS (SELECT 1 FROM keys WHERE kid = NEW.kid)
 AND NOT EXISTS (SELECT 1 FROM exchange_keys WHERE kid = NEW.kid)
 AND NOT EXISTS (SELECT 1 FROM roots WHERE kid = NEW.kid)
 AND NOT EXISTS (SELECT 1 FROM settings WHERE name = 'test-operator')
BEGIN
    SELECT RAISE(ABORT, 'a license names a registered key id');
END;

-- Its transactions are named by requests, which may name one again: that begins anew, and is to be acknowledged anew.
DROP TRIGGER acknowledgements_are_final;
CREATE TRIGGER acknowledgements_are_final BEFORE UPDATE ON transactions WHEN OLD.acknowledged_at IS NOT NULL
 AND NOT EXISTS (SELECT 1 FROM settings WHERE name = 'test-operator')
BEGIN
    SELECT RAISE(ABORT, 'an acknowledgement stays as it is');
END;
