-- Found by parked_turn now.
DROP INDEX parked_due;
