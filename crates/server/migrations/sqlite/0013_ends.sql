-- When a certificate ends that is exempt: then it is exempt no more. NULL of one that is not known here.
ALTER TABLE allowed_certificates ADD COLUMN not_after INTEGER;
