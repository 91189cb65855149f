"""`levelgate dead …`, a module a subcommand."""
