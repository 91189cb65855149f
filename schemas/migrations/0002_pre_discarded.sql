-- A dead pair that an operator gave up for good keeps its row, so that it never runs again and trace can say so.
ALTER TABLE dead ADD COLUMN discarded_at timestamptz;
