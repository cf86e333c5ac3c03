"""What the device did while a benchmark ran: clocks, heat, throttling, power, and who else was at work."""
