"""`levelgate replay …`, a module a subcommand."""
