"""`python -m levelgate` is the command `levelgate`."""

from levelgate.cli import main

main()
