"""The operating system, made safe: durable writes, swaps, descriptor walks, locks, clock."""
