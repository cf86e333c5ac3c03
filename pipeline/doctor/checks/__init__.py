"""One file for one thing that is looked at: `check(machine)` yields findings."""
