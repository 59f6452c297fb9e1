"""`python -m tenkizu`."""

from tenkizu.cli import main

main()
