"""`levelgate simulate …`, a module a subcommand."""
