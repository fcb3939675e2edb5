-- Version of the robustness rules that a device was made to, as its certificate says: lists name devices below one.
-- NULL of one that was made to none, and of packagers.
ALTER TABLE enrolment_tokens ADD COLUMN robustness_version INTEGER CHECK (robustness_version > 0);
ALTER TABLE devices ADD COLUMN robustness_version INTEGER CHECK (robustness_version > 0);
