-- Why a replay's publisher does not go on at the moment, for `levelgate replay status` in another terminal.
ALTER TABLE replay ADD COLUMN waits_for text;
