"""The contracts that receiver, workers and simulator share. No I/O beyond reading this package's own data files."""
